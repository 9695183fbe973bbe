"""Places, both ways. Sources: client-server API, "m.location"; RFC 5870 (`geo:` addresses); MSC3488."""

import math
import re
from collections.abc import Mapping
from typing import Final

from bridge_core.api.content import Location, RichText
from bridge_core.content.plain import clean, to_plain

_NUMBER = r"-?[0-9]{1,3}(?:\.[0-9]{1,15})?"
_PARAMETERS = r"(?:;[A-Za-z0-9-]+(?:=[^;\s]{0,64})?){0,8}"
_GEO: Final = re.compile(rf"geo:({_NUMBER}),({_NUMBER})(?:,-?[0-9.]{{1,20}})?({_PARAMETERS})")
_ACCURACY: Final = re.compile(r";u=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:;|$)", re.IGNORECASE)
_OTHER_SYSTEM: Final = re.compile(r";crs=(?!wgs84(?:;|$))", re.IGNORECASE)
_LONGEST = 255


def read_location(content: Mapping[str, object]) -> Location | None:
    """The place of an `m.location`; None when its address is none on this earth."""
    block = content.get("org.matrix.msc3488.location", content.get("m.location"))
    address = content.get("geo_uri")
    description: object = None
    if isinstance(block, Mapping):
        address = block.get("uri") if not isinstance(address, str) else address
        description = block.get("description")
    if not isinstance(address, str) or len(address) > _LONGEST:
        return None
    found = _GEO.fullmatch(address)
    if found is None or _OTHER_SYSTEM.search(found[3]):
        return None
    latitude, longitude = float(found[1]), float(found[2])
    if abs(latitude) > 90 or abs(longitude) > 180:
        return None
    accuracy = _ACCURACY.search(found[3])
    said = clean(description[:_LONGEST]) if isinstance(description, str) else ""
    return Location(latitude, longitude, float(accuracy[1]) if accuracy is not None else None, said)


def location_content(location: Location, text: RichText) -> dict[str, object] | None:
    """The content of an `m.location`; None when the numbers name no place. `text` says it for old clients."""
    latitude, longitude, accuracy = location.latitude, location.longitude, location.accuracy
    if not (math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    address = f"geo:{_written(latitude)},{_written(longitude)}"
    if accuracy is not None and math.isfinite(accuracy) and accuracy >= 0:
        address += f";u={_written(accuracy)}"
    said = to_plain(text) or "\n".join(part for part in (clean(location.description), address) if part)
    place: dict[str, object] = {"uri": address}
    if location.description:
        place["description"] = clean(location.description[:_LONGEST])
    return {
        "msgtype": "m.location",
        "body": said,
        "geo_uri": address,
        "org.matrix.msc3488.location": place,
        "org.matrix.msc3488.asset": {"type": "m.pin"},
        "org.matrix.msc1767.text": said,
        "m.mentions": {},
    }


def _written(number: float) -> str:
    """A number as RFC 5870 writes it: without an exponent, at most six digits behind the point (a tenth of a metre)."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
