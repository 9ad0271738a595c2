"""IP-Adapter from its published files."""

from models.adapters.ip_adapter.checkpoint import build_ip_adapter
from models.adapters.ip_adapter.spec import IPAdapterSpec
from models.adapters.loading import LoadedAdapter, Reader
from models.sdxl.text import TextEncoders


def load_ip_adapter(spec: IPAdapterSpec, reader: Reader, text: TextEncoders) -> LoadedAdapter:
    """Raises what its parts raise."""
    state, folder = reader.checkpoint(spec.path), spec.image_encoder
    config, encoder = reader.config(folder), reader.state(folder)
    return LoadedAdapter(build_ip_adapter(state, config, encoder, reader.outline, text))
