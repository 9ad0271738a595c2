"""All surfaces of the service, in the order in which the document shows them."""

from service.api.catalogue import get_model, list_models, list_styles
from service.api.docs import DOCS_ROUTES
from service.api.finals import create_final
from service.api.health import health, livez, metrics, readyz
from service.api.identities import create_identity
from service.api.jobs import cancel_job, follow_job, get_job
from service.api.openai.images import OPENAI
from service.api.openai.refusals import SHAPE_FOR_ALL_CLIENTS
from service.api.own_operations import PROBLEM_SCHEMA, STRUCTS
from service.api.portraits import create_portraits
from service.api.replicate.cog import COG
from service.api.replicate.routes import REPLICATE
from service.api.surface import Surface

CATALOGUE = Surface(
    name="Catalogue",
    about="What there is to choose from.",
    routes=[list_styles, list_models, get_model],
    paths=["/v1/models"],
    refusals=SHAPE_FOR_ALL_CLIENTS,
)
PORTRAITS = Surface(
    name="Portraits",
    about="Our own interface.",
    routes=[create_portraits, create_identity, create_final, get_job, follow_job, cancel_job],
    structs=STRUCTS,
    schemas=lambda _settings: {"Problem": PROBLEM_SCHEMA},
)
OPERATION = Surface(
    name="Operation",
    about="For probes and people who operate this.",
    routes=[*DOCS_ROUTES, livez, readyz, health, metrics],
)
SURFACES = (OPENAI, REPLICATE, COG, CATALOGUE, PORTRAITS, OPERATION)
