"""A job is born whole: nobody but itself changes what it is."""

import ast
from pathlib import Path

import pytest

SERVICE = Path(__file__).resolve().parents[2] / "service"
OWN = SERVICE / "jobs/job.py"


def attributes_of_a_job():
    tree = ast.parse(OWN.read_text())
    [job] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Job"]
    return {node.attr for node in ast.walk(job) if isinstance(node, ast.Attribute) and is_named(node.value, "self")}


def is_named(node, name):
    return isinstance(node, ast.Name) and node.id == name


def assigned(path):
    """(object, attribute) of everything that is assigned or deleted as an attribute, but for an object's own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and not is_named(node.value, "self"):
            yield ast.unparse(node.value), node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "object.__setattr__", "delattr"):
            yield ast.unparse(node.args[0]), ast.unparse(node.args[1])


@pytest.mark.parametrize("path", sorted(SERVICE.rglob("*.py")), ids=lambda path: str(path.relative_to(SERVICE)))
def test_no_other_module_assigns_an_attribute_of_a_job(path):
    of_jobs = attributes_of_a_job()
    assert {"state", "error", "photos", "tokens", "origin", "options"} <= of_jobs
    named_job = [(owner, name) for owner, name in assigned(path) if owner.split(".")[-1] == "job"]
    like_a_job = [(owner, name) for owner, name in assigned(path) if name in of_jobs]
    if path.parent.name != "workers":  # a worker's job is another thing: HeldJob
        assert named_job == []
    assert like_a_job == []


def test_everything_that_a_job_has_is_there_at_its_birth():
    tree = ast.parse(OWN.read_text())
    [job] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Job"]
    made = {
        method.name: {
            node.attr
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_named(node.value, "self")
        }
        for method in job.body
        if isinstance(method, ast.FunctionDef)
    }
    at_birth = made.pop("__init__")
    assert set().union(*made.values()) <= at_birth
