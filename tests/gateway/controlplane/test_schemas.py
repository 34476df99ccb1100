"""What the admin API takes, whatever route it comes to."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway import controlplane
from gateway.controlplane.schemas import In, Out


def taken(of: type[BaseModel] = In) -> Iterator[type[BaseModel]]:
    """Yield every shape that a client sends."""
    for module in pkgutil.iter_modules(controlplane.__path__):
        importlib.import_module(f"{controlplane.__name__}.{module.name}")
    for each in of.__subclasses__():
        if not issubclass(each, Out) and not each.__name__.endswith("Out"):
            yield each
        yield from taken(each)


FIELDS = {
    f"{shape.__name__}.{name}": field
    for shape in sorted(set(taken()), key=lambda shape: shape.__name__)
    for name, field in shape.model_fields.items()
    if "enum" not in str(field.annotation)  # Held to a list of words by a validator.
}


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_takes_what_is_no_unicode(name):
    """It would reach the database, which does not."""
    for given in ("a\ud800", ["a\ud800"], {"a\ud800": "a\ud800"}):
        with pytest.raises(ValidationError):
            TypeAdapter(FIELDS[name].rebuild_annotation()).validate_python(given)
