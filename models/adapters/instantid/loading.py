"""InstantID from its published files."""

from models.adapters.instantid.adapter import IDENTITY_NET
from models.adapters.instantid.checkpoint import build_instantid
from models.adapters.instantid.spec import InstantIDSpec
from models.adapters.loading import LoadedAdapter, Reader
from models.sdxl.text import TextEncoders


def load_instantid(spec: InstantIDSpec, reader: Reader, text: TextEncoders) -> LoadedAdapter:
    """Raises what its parts raise."""
    net = reader.control_net(spec.identity_net)
    with reader.about(spec.path):
        state = reader.checkpoint(spec.path)
        adapter = build_instantid(state, net, reader.outline, text, face_space=spec.face_space)
    return LoadedAdapter(adapter, nets={IDENTITY_NET: net})
