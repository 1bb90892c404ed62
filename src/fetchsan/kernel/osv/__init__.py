# SPDX-License-Identifier: GPL-2.0-or-later
"""The OSv personality: one address space at EL1, the kernel's own loader, and OSv's API by SVC."""

from fetchsan.kernel.osv.image import RofsFile
from fetchsan.kernel.osv.kernel import OsvKernel
from fetchsan.kernel.osv.thread import Aborted

__all__ = ["Aborted", "OsvKernel", "RofsFile"]
