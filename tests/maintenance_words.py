# SPDX-License-Identifier: GPL-2.0-or-later
"""From an A64 word to the event that the coherency model is fed: the tests' own decoder, independent of the machine's."""

from __future__ import annotations

from collections.abc import Callable

from fetchsan.coherency import Barrier, Domain, Views
from fetchsan.coherency.views import Moved

__all__ = ["feed"]

_BY_ADDRESS = 0xFFFFFFE0  # all but Rt

_CLEANS = {0xD50B7B20: "CVAU", 0xD50B7A20: "CVAC", 0xD50B7E20: "CIVAC", 0xD50B7C20: "CVAP"}
_CLEANS_BY_SET = {0xD5087A40: "CSW", 0xD5087E40: "CISW"}
_IC_IVAU = 0xD50B7520
_IC_IALLU = 0xD508751F
_IC_IALLUIS = 0xD508711F
_DSB, _DMB, _ISB = 0xD503309F, 0xD50330BF, 0xD50330DF

# CRm<1:0> and CRm<3:2> of a barrier (Arm ARM C6.2, DSB). Type 0 is SSBB or PSSBB: no barrier to maintenance.
_TYPES = {1: Barrier.LOADS, 2: Barrier.STORES, 3: Barrier.FULL}
_NSH = 1


def feed(
    views: Views, pe: int, word: int, register: Callable[[int], int], physical: Callable[[int], int], pc: int | None = None
) -> Moved | None:
    """Tell `views` what the maintenance instruction or barrier `word` does on `pe`; other words do nothing.

    `register` reads X0 to X30, `physical` translates. Returns what a CSE moved.
    """
    address, by_address = register(word & 31) if word & 31 != 31 else 0, word & _BY_ADDRESS
    barrier, option = word & ~0xF00, word >> 8 & 15
    if by_address in _CLEANS:
        views.clean(pe, physical(address), pc)
    elif by_address in _CLEANS_BY_SET:
        views.clean_all(pe, pc)
    elif by_address == _IC_IVAU:
        views.invalidate(pe, physical(address), address & ~0xFFF, pc)
    elif word in (_IC_IALLU, _IC_IALLUIS):
        views.invalidate_all(pe, broadcast=word == _IC_IALLUIS, pc=pc)
    elif barrier == _ISB:
        return views.context_synchronise(pe)
    elif barrier in (_DSB, _DMB) and option & 3:
        complete = views.dsb if barrier == _DSB else views.dmb
        complete(pe, _TYPES[option & 3], Domain.NON_SHAREABLE if option >> 2 == _NSH else Domain.SHAREABLE)
    return None
