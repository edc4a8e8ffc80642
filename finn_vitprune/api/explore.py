"""Many designs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from finn_vitprune.api.network import Network
from finn_vitprune.api.signature import spelled_out
from finn_vitprune.exploration import explore as exploration
from finn_vitprune.exploration.ledger import Explored
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.options.keywords import ExploreKeywords

Models = str | Path | Network | Sequence[str | Path | Network]


@spelled_out(ExploreKeywords)
def explore(models: Models, parts: str | Sequence[str], *, to: str | Path, **options: Unpack[ExploreKeywords]) -> Explored:
    """Plan every combination of networks, parts and engines, and build the best: ``finn-vitprune explore``.

    Args:
        models: files or networks, float or QONNX. parts: parts or boards, as "U250" or ("U250", "ZCU104"). to: a folder for networks,
            builds, tables and a page; a second call goes on where the first one stopped. options: of ``finn-vitprune explore``; several
            values of one are a sequence.
    Raises:
        UserError: a file, a part or an option is wrong; nothing is done then. A design that fails is a row with its reason.
    """
    given = [models] if isinstance(models, str | Path | Network) else models
    paths = tuple(one.path if isinstance(one, Network) else Path(one) for one in given)
    return exploration.explore(ExploreOptions.of_keywords({"models": paths, "parts": parts, "to": to, **options}))
