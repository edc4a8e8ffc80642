"""The units whose mutants are judged, and the checks that judge them."""

from tests.mutation.units.attention import ATTENTION
from tests.mutation.units.engine import ENGINE
from tests.mutation.units.layernorm import LAYERNORM
from tests.mutation.units.load import LOAD
from tests.mutation.units.matrix import MATRIX
from tests.mutation.units.streams import STREAM_UNITS
from tests.mutation.units.token_drop import TOKEN_DROP

UNITS = {unit.name: unit for unit in (MATRIX, TOKEN_DROP, ATTENTION, LAYERNORM, LOAD, ENGINE, *STREAM_UNITS)}
