# SPDX-License-Identifier: GPL-2.0-or-later
"""Session: a running guest whose functions Python calls. Owns the calls themselves, callbacks, and the guest's end.

A call sets the registers as a caller would and runs the PE until the guest makes the private call: from the return entry (the
function is done) or from a callback's entry (Python's turn, which may call again). So the engine is never entered twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from fetchsan.findings.collector import Collector
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.host import Host
from fetchsan.kernel.signals import signal_name
from fetchsan.kernel.task import Exited
from fetchsan.libraries.convention import CONVENTIONS
from fetchsan.libraries.errors import BadAddressError, GuestEndedError, MachineEndedError
from fetchsan.libraries.lending import Lending
from fetchsan.libraries.time_limit import TimeLimit
from fetchsan.machine.hardware import Origin
from fetchsan.machine.interruption import SignalStopper
from fetchsan.machine.memory import OutOfMemoryError
from fetchsan.run import HaltedError, Run

if TYPE_CHECKING:
    from fetchsan.findings.finding import Finding
    from fetchsan.kernel.options import KernelOptions
    from fetchsan.libraries.callback import CallbackEntry
    from fetchsan.libraries.entry_kernel import EntryKernel
    from fetchsan.libraries.linker import LibraryLinker
    from fetchsan.libraries.osv_entry_kernel import OsvEntryKernel
    from fetchsan.machine.engine_pe import EnginePE
    from fetchsan.machine.hits import Hit
    from fetchsan.platforms import Platform
    from fetchsan.settings import RunSettings

__all__ = ["Session"]

_PYTHON = Origin(None, "Python")
_MASK = (1 << 64) - 1
_ROOM = 1 << 20  # what the guest needs itself
_DEEPEST = 64  # well before Python's own limit, which would be met in the midst of the guest
_INTERRUPTED = "the machine was interrupted in the midst of a call; make a new one"


class Session:
    """One machine with libraries in it. One thread of Python is in it at a time; the guest has one thread anyway."""

    def __init__(
        self,
        platform: Platform,
        settings: RunSettings,
        options: KernelOptions,
        linker: LibraryLinker,
        *,
        message: Callable[[str], None],
        disassemble: Callable[[int, int], str],
    ) -> None:
        self.convention = CONVENTIONS[platform.name]
        self.linker = linker
        self.time_limit: float | None = None
        self._message = message
        self._run = Run(platform, settings, options, Host(), message=message, kernel_class=linker.kernel_class)
        # `Run` makes it of the class that it is given.
        self.kernel = cast("EntryKernel | OsvEntryKernel", self._run.kernel)
        self._private = self.kernel.private
        self._collector = Collector(self._run.symboliser.locate, disassemble, strict=settings.strict)
        self._halt = settings.halt_on_error
        self._lock = threading.RLock()
        self._stopper = SignalStopper()
        self._depth = 0
        self._why_ended: str | None = None
        self._closed = False
        self._callbacks: dict[int, CallbackEntry] = {}
        self._free_callbacks: list[int] = []
        self.lending = Lending(linker)
        try:
            self._pe: EnginePE = self._run.begin(self._hit)
            self._stopper.stop = self._pe.interrupt
            self._resume()
            self._base = (self._pe.get("sp") - self.convention.red_zone) & -16
            self._private.entries = linker.start(self, self._pe.get(self.convention.left))
            self.lending.start()
        except BaseException:
            self._release()
            raise

    # --- calls ---------------------------------------------------------------------------------------------------------------

    def call(
        self, address: int, integers: Sequence[int], floats: Sequence[int] = (), stack: bytes = b"", *, floating: bool = False
    ) -> int:
        """Call the function at `address`; the result register as it is.

        Raises GuestEndedError if the guest does not survive it, MachineEndedError if it was over before, and what a
        callback raised.
        """
        with self._lock:
            if self._why_ended is not None:
                raise MachineEndedError(self._why_ended)
            if self._depth:
                if self._depth >= _DEEPEST:
                    raise RecursionError(f"Python and the guest call each other {_DEEPEST} deep")
                return self._call(address, integers, floats, stack, floating)
            self.lending.collect()
            with self._stopper:
                if self.time_limit is None:
                    return self._call(address, integers, floats, stack, floating)
                with TimeLimit(self._pe, self.time_limit) as limit:
                    result = self._call(address, integers, floats, stack, floating)
                if limit.over:  # it has just returned, but the PE may have been told already
                    raise self._over_time()
                return result

    def call_for_registers(
        self, address: int, integers: Sequence[int], floats: Sequence[int], stack: bytes, registers: Sequence[str]
    ) -> list[int]:
        """`call`, for a result in several registers."""
        with self._lock:
            self.call(address, integers, floats, stack)
            return [self._pe.get(register) for register in registers]

    def _call(self, address: int, integers: Sequence[int], floats: Sequence[int], stack: bytes, floating: bool) -> int:
        pe, convention = self._pe, self.convention
        base = (pe.get("sp") - convention.red_zone) & -16 if self._depth else self._base
        sp = base - (len(stack) + 15 & -16)
        set_register = pe.set
        for register, value in zip(convention.integers, integers, strict=False):
            set_register(register, value)
        for register, value in zip(convention.floats, floats, strict=False):
            set_register(register, value)
        if stack:
            self.write(sp, stack)
        assert self._private.entries is not None
        returning = self._private.entries.returning
        if convention.link is not None:
            set_register(convention.link, returning)
            set_register("sp", sp)
        else:
            self.write(sp - 8, returning.to_bytes(8, "little"))
            set_register("sp", sp - 8)
        if convention.float_count is not None:
            set_register(convention.float_count, len(floats))
        if not self._depth:
            set_register(convention.frame, 0)
        set_register("pc", address)
        self._depth += 1
        raised: BaseException | None = None
        try:
            self._resume()
            while self._private.called is not None:
                try:
                    self._enter(self._private.called)
                except Exception as error:
                    if self._why_ended is not None:
                        raise
                    raised = raised or error
                except BaseException:
                    self._why_ended = self._why_ended or _INTERRUPTED
                    raise
                self._resume()
            if pe.get("sp") != sp:
                raise self._ended("the guest jumped out of a call of Python's (longjmp, an exception)")
        finally:
            self._depth -= 1
        if raised is not None:
            raise raised
        if floating:
            return pe.get(convention.float_result) & _MASK
        return pe.get(convention.left)

    def _enter(self, number: int) -> None:
        """A callback's turn. What it raises is for the call that it happened in; the guest gets 0."""
        pe, convention = self._pe, self.convention
        registers = ("sp", "pc", convention.link, convention.frame) if convention.link else ("sp", "pc", convention.frame)
        state = pe.get_many(registers)
        callback = self._callbacks.get(number)
        result, floating = 0, False
        try:
            if callback is None:
                raise LookupError("the guest called back a function that Python has given up: keep the callback object")
            integers = pe.get_many(convention.callback)
            floats = [pe.get(register) & _MASK for register in convention.floats] if callback.takes_floats else []
            floating = callback.returns_float
            result = callback.enter(integers, floats, state[0] + convention.pushed)
        finally:
            if self._why_ended is None:
                with self._or_over():
                    for register, value in zip(registers, state, strict=True):
                        pe.set(register, value)
                    pe.set(convention.float_result if floating else convention.result, result)

    def _resume(self) -> None:
        """Run the guest until it comes back. Raises if it does not, and then it is over."""
        self._private.called = None
        try:
            with self._or_over():
                self._pe.run()
        except HaltedError:
            raise self._ended("stopped at the first finding (halt_on_error)") from None
        except TimeoutError:
            raise self._over_time() from None
        if self.kernel.ended:
            raise self._end_of_guest()

    @contextlib.contextmanager
    def _or_over(self) -> Iterator[None]:
        """Whatever is raised here leaves the guest between two instructions, from where nobody takes it on."""
        try:
            yield
        except KeyboardInterrupt:
            self._why_ended = _INTERRUPTED
            raise
        except BaseException as error:
            self._why_ended = f"the machine is over: {error or type(error).__name__}"
            raise

    # --- the end -------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let the guest exit, which flushes its streams, and give everything back."""
        with self._lock:
            if self._closed:
                return
            if self._depth:
                raise ValueError("a machine cannot be closed from a callback")
            try:
                if self._why_ended is None:
                    self.linker.exit()
            except GuestEndedError as end:
                if end.exit is None:
                    raise
            finally:
                self._why_ended = "the machine is closed"
                self.kernel.finish()
                self._release()

    def _release(self) -> None:
        self._closed = True
        self._run.hardware.finish()
        self._stopper.close()
        self._run.close()

    def _ended(self, what: str) -> GuestEndedError:
        trace = (self._run.symboliser.locate(self._pe.get("pc")),)
        self._why_ended = f"the machine is over: {what}"
        return GuestEndedError(what, backtrace=trace)

    def _over_time(self) -> GuestEndedError:
        return self._ended(f"the call took longer than the time limit of {self.time_limit} s")

    def _end_of_guest(self) -> GuestEndedError:
        kernel = self.kernel
        death = kernel.death
        if death is None:
            assert isinstance(kernel.end_state, Exited)
            status = kernel.end_state.code
            self._why_ended = f"the machine is over: the guest called exit({status})"
            return GuestEndedError(f"the guest called exit({status})", exit=status)
        exception = death.exception
        name = signal_name(death.signal)
        self._why_ended = f"the machine is over: the guest died of {name}"
        numbers = kernel.abi.cause(exception) if exception is not None else {}
        cause = "".join(f", {key} {value:#x}" for key, value in numbers.items())
        at = f" at {exception.far:#x}" if exception is not None else ""
        return GuestEndedError(
            f"the guest died of {name}{at}{cause}",
            signal=death.signal,
            address=exception.far if exception is not None else None,
            cause=numbers,
            backtrace=tuple(self._run.symboliser.locate(place) for place in death.backtrace),
            report=death.report,
        )

    # --- memory --------------------------------------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """Guest memory. Raises BadAddressError."""
        if size < 0:
            raise ValueError(f"a size cannot be negative: {size}")
        with self._lock:
            self._check_open()
            try:
                return self.kernel.process.memory.read(address, size) if size else b""
            except (GuestFault, LinuxError):
                raise BadAddressError(address, size, "read") from None
            except OutOfMemoryError as error:
                raise MemoryError(str(error)) from None

    def write(self, address: int, data: bytes) -> None:
        """Store into guest memory, as the guest's own store would. Raises BadAddressError."""
        with self._lock:
            self._check_open()
            memory = self.kernel.process.memory
            memory.origin = _PYTHON
            try:
                if data:
                    memory.write(address, data)
            except (GuestFault, LinuxError):
                raise BadAddressError(address, len(data), "written") from None
            except OutOfMemoryError as error:
                raise MemoryError(str(error)) from None

    def check_room(self, size: int) -> None:
        """Whether guest RAM has room for so many bytes more. Raises MemoryError, before the guest has none to run in."""
        memory = self.kernel.hardware.memory
        if size + _ROOM > memory.size - memory.frames_in_use * 4096:
            raise MemoryError(f"the guest has not so much memory left: {size} bytes")

    def read_string(self, address: int, limit: int) -> bytes:
        """The bytes before the first NUL. Raises BadAddressError, and ValueError if there is none within `limit`."""
        with self._lock:
            self._check_open()
            try:
                return self.kernel.process.memory.read_cstring(address, limit)
            except GuestFault:
                raise BadAddressError(address, 1, "read") from None
            except LinuxError:
                raise ValueError(f"no NUL within {limit} bytes of {address:#x}") from None

    def _check_open(self) -> None:
        if self._closed:
            raise MachineEndedError("the machine is closed")

    # --- callbacks -----------------------------------------------------------------------------------------------------------

    def add_callback(self, callback: CallbackEntry) -> int:
        """A number for `callback`. Raises ValueError when there are too many."""
        entries = self._private.entries
        assert entries is not None
        number = self._free_callbacks.pop() if self._free_callbacks else len(self._callbacks)
        if number >= entries.callback_count:
            raise ValueError(f"there can be {entries.callback_count} callbacks at a time")
        self._callbacks[number] = callback
        return number

    def callback_address(self, number: int) -> int:
        """What the guest calls."""
        assert self._private.entries is not None
        return self._private.entries.address(number)

    def remove_callback(self, number: int) -> None:
        """The number is free for another."""
        del self._callbacks[number]
        self._free_callbacks.append(number)

    # --- what is seen of it --------------------------------------------------------------------------------------------------

    def findings(self) -> tuple[Finding, ...]:
        """Up to now."""
        return tuple(self._collector.findings())

    @property
    def stdout(self) -> bytes | None:
        """What was captured of the guest's output."""
        captured = self.kernel.captured.get(1)
        if captured is None:
            return None
        if self._why_ended is None and not self._depth:
            self.linker.flush()
        return bytes(captured)

    def _hit(self, found: Hit) -> None:
        if self._collector.add(found) and self._halt:
            self._run.halt()
