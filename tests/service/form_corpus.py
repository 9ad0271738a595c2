"""Some 120 whole requests to POST /v1/portraits and what must come of each."""

from collections.abc import Callable, Iterable

from tests.service.expect import FINE, Expect, HostileForm, refused
from tests.service.pictures import photo, saved

BOUNDARY = "d3adb33f"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def selfie() -> bytes:
    return saved(photo(), "JPEG", quality=90)


def part(name: str, body: bytes, file: str | None = None, kind: str | None = None, headers: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file is not None else "")
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return f"{head}\r\n{headers}\r\n".encode() + body


def pose(body: bytes | None = None) -> bytes:
    return image("pose", body)


def image(name: str = "image", body: bytes | None = None) -> bytes:
    return part(name, selfie() if body is None else body, "selfie.jpg", "image/jpeg")


def joined(*parts: bytes, end: bytes = b"--\r\n", boundary: str = BOUNDARY) -> bytes:
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + end


def with_fields(*fields: tuple[str, str | bytes]) -> bytes:
    """A selfie and these text fields."""
    texts = [part(name, value.encode() if isinstance(value, str) else value) for name, value in fields]
    return joined(*texts, image())


BAD_VALUES = {
    "n": ["0", "9", "-1", "1.5", "nan", "abc", "1" * 500, "0x2", "\u0663", "null", "2\n"],
    "gamma": ["-0.1", "1.1", "nan", "inf", "1e400", "0,5", "null"],
    "guidance": ["-0.1", "20.5", "nan", "inf", "-inf", "1e400", "5,5", "null"],
    "steps": ["0", "51", "ten", "4.5"],
    "seed": ["-1", "4294967296", "1.5", "9" * 400, "null", "None"],
    "quality": ["0", "101", "best"],
    "deadline": ["0", "601", "inf", "nan", "soon"],
    "strength": ["-0.01", "1.01", "nan", "strong"],
    "previews": ["maybe", "2", "null"],
    "format": ["gif", "jp", "image/*", "image/gif"],
    "size": ["1024", "1024x", "axb", "0x0", "99999x9", "-1x10", "1024x1024\n", "1024X1024", "1e3x1e3"],
    "several_faces": ["all", "1"],
    "disagreeing": ["ignore", "true"],
    "framing": ["left", "slight left", "front,closer"],
    "control_strength": ["-0.1", "1.01", "nan"],
    "region": ["body"],
    "lora": ["../film", "a b"],
    "style": ["../../etc/passwd", "a b", "x" * 65, "caf\u00e9", "ok\0"],
    "sampler": ["; drop table", "<script>"],
    "adapter": ["\r\nSet-Cookie: a=b"],
    "subject": ["1", "a\nb", "x" * 33, "{0.__class__}"],
    "prompt": ["x" * 2001, "a\0b", "a\x1b[2Jb"],
    "negative_prompt": ["x" * 2001, "\x07"],
}


def _honest_forms() -> Iterable[tuple[str, str | None, Callable[[], bytes], str]]:
    jpeg, many = "image/jpeg", "style=corporate&n=2&seed=7&previews=true&guidance=1.5&size=1024x1024&negative_prompt="
    yield "raw", jpeg, selfie, ""
    yield "raw_with_query", jpeg, selfie, many
    yield "raw_with_percent_query", jpeg, selfie, "prompt=portrait+photo+of+a+woman%2C+caf%C3%A9"
    yield "raw_octets", "application/octet-stream", selfie, ""
    yield "raw_wrong_image_type", "image/png", selfie, ""
    yield "one_image", MULTIPART, lambda: joined(image()), ""
    yield "two_names", MULTIPART, lambda: joined(image(), image("image[]")), ""
    yield "image_and_pose", MULTIPART, lambda: joined(image(), pose()), ""
    yield "pose_before_image", MULTIPART, lambda: joined(pose(), image()), ""
    yield "eight_images_and_a_pose", MULTIPART, lambda: joined(*[image()] * 8, pose()), ""
    yield "framing", MULTIPART, lambda: with_fields(("framing", "slight-right"), ("region", "face")), ""
    yield "lora", MULTIPART, lambda: with_fields(("lora", "film"), ("lora_scale", "-0.5")), ""
    yield "eight_images", MULTIPART, lambda: joined(*[image("image[]")] * 8), ""
    yield "image_without_file_name", MULTIPART, lambda: joined(part("image", selfie(), None, "image/jpeg")), ""
    yield "quoted_boundary", f'multipart/form-data; boundary="{BOUNDARY}"', lambda: joined(image()), ""
    yield "charset_of_text", MULTIPART, lambda: joined(part("n", b"1", None, "text/plain; charset=UTF-8"), image()), ""
    yield "epilogue", MULTIPART, lambda: joined(image()) + b"and a last word\r\n", ""
    yield "line_before_first_part", MULTIPART, lambda: b"\r\n" + joined(image()), ""
    yield "lines_in_prompt", MULTIPART, lambda: with_fields(("prompt", "a photo\r\n\tof a man")), ""
    yield "fields_in_both", MULTIPART, lambda: with_fields(("n", "2")), "seed=1"
    yield "image_like_boundary", MULTIPART, lambda: joined(image(body=selfie() + b"\r\n--d3adb33")), ""


def _bad_bodies() -> Iterable[tuple[str, str | None, Callable[[], bytes], str, Expect]]:
    unsupported, malformed = refused(415, "unsupported_media"), refused(400, "form_malformed")
    missing, unknown = refused(400, "image_missing"), refused(400, "unknown_field")
    invalid, repeated = refused(400, "invalid_field"), refused(400, "duplicate_field")
    form = "multipart/form-data"

    yield "no_content_type", None, selfie, "", unsupported
    for kind in ("text/plain", "multipart/mixed", "x" * 3000):
        yield f"type_{kind[:24]}", kind, selfie, "", unsupported
    yield "selfie_as_json", "application/json", selfie, "", refused(400, "json_malformed")
    yield "selfie_as_urlencoded", "application/x-www-form-urlencoded", selfie, "", malformed
    yield "raw_empty", "image/jpeg", lambda: b"", "", missing
    yield "raw_unknown_field", "image/jpeg", selfie, "promt=x", unknown
    yield "raw_image_by_address", "image/jpeg", selfie, "image=http://127.0.0.1/", unknown
    yield "raw_repeated_field", "image/jpeg", selfie, "n=1&n=2", repeated
    yield "raw_query_not_utf8", "image/jpeg", selfie, "prompt=%ff%fe", refused(400, "query_malformed")
    yield "raw_query_without_value", "image/jpeg", selfie, "previews", refused(400, "query_malformed")
    yield "raw_query_many_fields", "image/jpeg", selfie, "&".join(["n=1"] * 500), refused(400, "query_malformed")
    yield "raw_too_large", "image/jpeg", lambda: bytes(12_000_001), "", refused(413, "image_too_many_bytes")

    yield "no_boundary", form, lambda: joined(image()), "", malformed
    yield "empty_boundary", f'{form}; boundary=""', lambda: joined(image()), "", malformed
    yield "long_boundary", f"{form}; boundary={'x' * 5000}", lambda: joined(image(), boundary="x" * 5000), "", malformed
    yield "other_boundary", f"{form}; boundary=other", lambda: joined(image()), "", malformed
    yield "empty_form", MULTIPART, lambda: b"", "", malformed
    yield "raw_sent_as_form", MULTIPART, selfie, "", malformed
    yield "form_of_zeros", MULTIPART, lambda: bytes(100_000), "", malformed
    yield "no_parts", MULTIPART, lambda: joined(), "", missing
    yield "no_end", MULTIPART, lambda: joined(image(), end=b""), "", malformed
    yield "cut_in_image", MULTIPART, lambda: joined(image())[:2000], "", malformed
    yield "cut_in_header", MULTIPART, lambda: joined(image())[:40], "", malformed
    yield "bare_line_feeds", MULTIPART, lambda: joined(image()).replace(b"\r\n", b"\n"), "", malformed
    yield "header_without_colon", MULTIPART, lambda: joined(b"nonsense\r\n\r\nx"), "", malformed
    yield "header_not_utf8", MULTIPART, lambda: joined(b"Content-Disposition: \xff\xfe\r\n\r\nx"), "", malformed
    yield "no_disposition", MULTIPART, lambda: joined(b"Content-Type: image/jpeg\r\n\r\nx"), "", malformed
    yield (
        "attachment",
        MULTIPART,
        lambda: joined(b"Content-Disposition: attachment; name=image\r\n\r\nx"),
        "",
        malformed,
    )
    yield "no_name", MULTIPART, lambda: joined(b"Content-Disposition: form-data\r\n\r\nx"), "", unknown
    yield "long_header", MULTIPART, lambda: joined(part("n", b"1", headers=f"X-A: {'a' * 9000}\r\n")), "", malformed
    yield "many_headers", MULTIPART, lambda: joined(part("n", b"1", headers="X-A: a\r\n" * 9)), "", malformed
    lie = "Content-Length: 5\r\n"
    yield "part_length_lie", MULTIPART, lambda: joined(part("n", b"1", headers=lie), image()), "", malformed

    yield "no_file_part", MULTIPART, lambda: joined(part("n", b"1")), "", missing
    yield "empty_file", MULTIPART, lambda: joined(image(body=b"")), "", missing
    yield "no_file_chosen", MULTIPART, lambda: joined(part("image", b"", "", "application/octet-stream")), "", missing
    yield "image_as_text", MULTIPART, lambda: joined(part("image", b"selfie.jpg")), "", missing
    nested = "multipart/mixed; boundary=inner"
    yield (
        "nested_form",
        MULTIPART,
        lambda: joined(part("image", joined(image(), boundary="inner"), None, nested)),
        "",
        missing,
    )
    yield "pose_alone", MULTIPART, lambda: joined(pose()), "", missing
    yield "pose_empty", MULTIPART, lambda: joined(image(), pose(b"")), "", missing
    yield "pose_as_text", MULTIPART, lambda: joined(image(), part("pose", b"left")), "", missing
    yield "pose_in_query", MULTIPART, lambda: joined(image()), "pose=left", unknown
    yield "two_poses", MULTIPART, lambda: joined(image(), pose(), pose()), "", repeated
    yield "lora_scale_alone", MULTIPART, lambda: with_fields(("lora_scale", "1")), "", refused(400, "lora_missing")
    both = (("lora", "film"), ("lora_scale", "2.1"))
    yield "lora_scale_large", MULTIPART, lambda: with_fields(*both), "", invalid
    yield "nine_images", MULTIPART, lambda: joined(*[image()] * 9), "", refused(400, "too_many_images")
    tiny = image(body=b"x")
    yield "thousand_images", MULTIPART, lambda: joined(*[tiny] * 1001), "", refused(400, "too_many_images")
    yield "thousand_fields", MULTIPART, lambda: with_fields(*[("n", "1")] * 1001), "", refused(400, "too_many_fields")
    yield "thousand_unknown_fields", MULTIPART, lambda: with_fields(*[("q", "1")] * 1001), "", unknown
    large = bytes(12_000_001)
    too_large, too_much = refused(413, "image_too_many_bytes"), refused(413, "body_too_large")
    yield "large_image", MULTIPART, lambda: joined(image(body=large)), "", too_large
    yield "large_pose", MULTIPART, lambda: joined(image(), pose(large)), "", too_large
    yield "large_form", MULTIPART, lambda: joined(*[image(body=large[:-1])] * 5), "", too_much

    yield "unknown_field", MULTIPART, lambda: with_fields(("promt", "a man")), "", unknown
    yield "unknown_long_field", MULTIPART, lambda: with_fields(("x" * 3000, "1")), "", unknown
    yield "hostile_field_name", MULTIPART, lambda: with_fields(("__class__", "1")), "", unknown
    yield "repeated_field", MULTIPART, lambda: with_fields(("n", "1"), ("n", "1")), "", repeated
    yield "field_in_both", MULTIPART, lambda: with_fields(("n", "1")), "n=1", repeated
    doubled = (("style", "corporate"), ("prompt", "a man"))
    yield "style_and_prompt", MULTIPART, lambda: with_fields(*doubled), "", refused(400, "style_and_prompt")
    yield "field_as_file", MULTIPART, lambda: joined(part("prompt", b"a", "a.txt"), image()), "", invalid
    for charset in ("utf-16", "klingon", "idna", "x" * 99):
        kind = f"text/plain; charset={charset}"
        body = joined(part("prompt", b"abc", None, kind), image())
        yield (
            f"charset_{charset[:9]}",
            MULTIPART,
            lambda body=body: body,
            "",
            refused(400, "invalid_field", "form_malformed"),
        )
    yield "not_utf8", MULTIPART, lambda: with_fields(("prompt", b"caf\xe9")), "", invalid
    yield "surrogates", MULTIPART, lambda: with_fields(("prompt", b"\xed\xa0\x80")), "", invalid
    yield "long_field", MULTIPART, lambda: with_fields(("prompt", "x" * 9000)), "", refused(400, "field_too_long")


def _forms() -> Iterable[HostileForm]:
    for name, kind, make, query in _honest_forms():
        yield HostileForm(f"good_{name}", kind, make, query, FINE)
    for name, kind, make, query, expect in _bad_bodies():
        yield HostileForm(name, kind, make, query, expect)
    for field, values in BAD_VALUES.items():
        for number, value in enumerate(values):
            make = lambda field=field, value=value: with_fields((field, value))  # noqa: E731
            yield HostileForm(f"{field}_{number}", MULTIPART, make, "", refused(400, "invalid_field"))


FORMS = list(_forms())
