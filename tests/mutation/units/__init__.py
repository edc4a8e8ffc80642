"""The units whose mutants are judged, and the checks that judge them."""

from tests.mutation.units.array import ARRAY
from tests.mutation.units.attention import ATTENTION, SHARED_ATTENTION
from tests.mutation.units.engine import ENGINE
from tests.mutation.units.layernorm import LAYERNORM, SHARED_LAYERNORM
from tests.mutation.units.link import LINK
from tests.mutation.units.load import LOAD
from tests.mutation.units.matrix import MATRIX, SHARED_MATRIX
from tests.mutation.units.streams import STREAM_UNITS
from tests.mutation.units.token_drop import TOKEN_DROP

UNITS = {
    unit.name: unit
    for unit in (
        MATRIX,
        SHARED_MATRIX,
        TOKEN_DROP,
        ATTENTION,
        SHARED_ATTENTION,
        LAYERNORM,
        SHARED_LAYERNORM,
        LOAD,
        ENGINE,
        ARRAY,
        LINK,
        *STREAM_UNITS,
    )
}
