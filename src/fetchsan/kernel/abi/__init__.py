# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Linux ABI of one port has that the other's has not; the rest of `kernel/` serves both from one code base."""
