"""Free synthesizers of Debian, each played one note at a time: 1.25 s of it, float, at `RATE`."""

import ctypes
import itertools
import string
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from studio_models import RATE, SECONDS

# FluidSynth's generators, and how far a note may move each from its preset: filter cutoff and attack (cents and
# timecents), vibrato depth and fine tuning (cents).
GENERATORS = {8: (-3000, 0), 34: (0, 2400), 6: (0, 25), 52: (-30, 30)}


class FluidSynth:
    """A SoundFont, played one note at a time."""

    def __init__(self, path: Path):
        self.library = ctypes.CDLL("libfluidsynth.so.3")
        for name in ("new_fluid_settings", "new_fluid_synth"):
            getattr(self.library, name).restype = ctypes.c_void_p
        settings = ctypes.c_void_p(self.library.new_fluid_settings())
        self.library.fluid_settings_setnum(settings, b"synth.sample-rate", ctypes.c_double(RATE))
        # Otherwise each preset that a font does not have is told on the terminal.
        self.library.fluid_set_log_function(1, None, None)
        self.synth = ctypes.c_void_p(self.library.new_fluid_synth(settings))
        self.font = self.call("sfload", str(path).encode(), 0)
        if self.font < 0:
            raise FileNotFoundError(f"FluidSynth cannot read {path}")

    def call(self, name: str, *arguments) -> int:
        """Call one of the library's functions for this synthesizer."""
        return getattr(self.library, f"fluid_synth_{name}")(self.synth, *arguments)

    def has(self, bank: int, program: int) -> bool:
        """Whether the SoundFont has this preset."""
        return self.call("program_select", 0, self.font, bank, program) == 0

    def play(self, bank: int, program: int, pitch: int, velocity: int, rng: np.random.Generator) -> np.ndarray:
        """Hold a note, with reverb, chorus, filter, attack, vibrato and tuning drawn anew."""
        self.call("system_reset")
        self.call("program_select", 0, self.font, bank, program)
        for controller in (91, 93):  # reverb and chorus
            self.call("cc", 0, controller, int(rng.integers(0, 128)) if rng.random() < 0.6 else 0)
        for generator, span in GENERATORS.items():
            moved = rng.uniform(*span) if rng.random() < 0.5 else 0
            self.call("set_gen", 0, generator, ctypes.c_float(moved))
        self.call("noteon", 0, pitch, velocity)
        stereo = np.zeros((int(SECONDS * RATE), 2), np.float32)
        buffer = stereo.ctypes.data_as(ctypes.c_void_p)
        self.call("write_float", len(stereo), buffer, 0, 2, buffer, 1, 2)
        return stereo.mean(axis=1)


INT, ULONG, FLOAT, TEXT, POINTER = ctypes.c_int, ctypes.c_ulong, ctypes.c_float, ctypes.c_char_p, ctypes.c_void_p


def structure(**fields) -> type[ctypes.Structure]:
    """A C structure with these fields."""
    return type("Structure", (ctypes.Structure,), {"_fields_": list(fields.items())})


# The first fields of the structures of ladspa.h and dssi.h.
Program = structure(bank=ULONG, program=ULONG, name=TEXT)
Hint = structure(kind=INT, lower=FLOAT, upper=FLOAT)
Ladspa = structure(
    id=ULONG,
    label=TEXT,
    properties=INT,
    name=TEXT,
    maker=TEXT,
    copyright=TEXT,
    port_count=ULONG,
    ports=ctypes.POINTER(INT),
    port_names=POINTER,
    hints=ctypes.POINTER(Hint),
    data=POINTER,
    instantiate=ctypes.CFUNCTYPE(POINTER, POINTER, ULONG),
    connect_port=ctypes.CFUNCTYPE(None, POINTER, ULONG, POINTER),
    activate=ctypes.CFUNCTYPE(None, POINTER),
)
Dssi = structure(
    version=INT,
    ladspa=ctypes.POINTER(Ladspa),
    configure=ctypes.CFUNCTYPE(TEXT, POINTER, TEXT, TEXT),
    get_program=ctypes.CFUNCTYPE(ctypes.POINTER(Program), POINTER, ULONG),
    select_program=ctypes.CFUNCTYPE(None, POINTER, ULONG, ULONG),
    controller_of_port=POINTER,
    run_synth=ctypes.CFUNCTYPE(None, POINTER, ULONG, TEXT, ULONG),
)
AUDIO, DEFAULT, DEFAULT_440 = 0x8, 0x3C0, 0x2C0
NOTE_ON, CONTROLLER, ALL_SOUND_OFF = 6, 10, 120


class Plugin:
    """A DSSI synthesizer, played one note at a time."""

    def __init__(self, name: str):
        library = ctypes.CDLL(f"/usr/lib/dssi/{name}.so")
        library.dssi_descriptor.restype = ctypes.POINTER(Dssi)
        self.dssi, self.selected = library.dssi_descriptor(0).contents, None
        ladspa = self.dssi.ladspa.contents
        self.handle = ladspa.instantiate(self.dssi.ladspa, RATE)
        self.outputs, self.tuning, self.ports = [], np.zeros(1, np.float32), []
        for port in range(ladspa.port_count):
            is_audio, hint = ladspa.ports[port] & AUDIO, ladspa.hints[port]
            memory = np.zeros(int(SECONDS * RATE) if is_audio else 1, np.float32)
            ladspa.connect_port(self.handle, port, memory.ctypes.data)
            self.ports.append(memory)
            if is_audio:
                self.outputs.append(memory)
            elif hint.kind & DEFAULT == DEFAULT_440:
                self.tuning = memory
            else:  # ladspa.h: the minimum, the middle, the maximum, 1 or 100
                named = {0x40: hint.lower, 0xC0: (hint.lower + hint.upper) / 2, 0x140: hint.upper, 0x240: 1, 0x280: 100}
                memory[:] = named.get(hint.kind & DEFAULT, 0)
        if ladspa.activate:
            ladspa.activate(self.handle)

    def patches(self) -> Iterator[tuple[int, int, str]]:
        """Bank, program and name of each patch."""
        for index in itertools.count():
            if not (found := self.dssi.get_program(self.handle, index)):
                return
            yield found.contents.bank, found.contents.program, found.contents.name.decode("latin1").strip()

    def configure(self, key: str, value: str) -> None:
        """Set one of the plugin's configuration keys."""
        self.selected = None
        if message := self.dssi.configure(self.handle, key.encode(), value.encode()):
            raise RuntimeError(message.decode())

    def run(self, seconds: float, event: bytes = b"") -> np.ndarray:
        """Run for a while, after an event of ALSA's sequencer."""
        samples = int(seconds * RATE)
        self.dssi.run_synth(self.handle, samples, event, bool(event))
        return np.mean([output[:samples] for output in self.outputs], axis=0)

    def play(self, bank: int, program: int, pitch: int, velocity: int, rng: np.random.Generator) -> np.ndarray:
        """Hold a note, its tuning drawn anew."""
        if (bank, program) != self.selected:
            self.dssi.select_program(self.handle, bank, program)
            self.selected, rested = (bank, program), 0
            while rested < 3:  # ZynAddSubFX loads in a thread of its own, and plays the old patch until that is idle
                self.run(0.01)
                before = time.process_time()
                time.sleep(0.05)
                rested = rested + 1 if time.process_time() - before < 0.01 else 0
        self.tuning[:] = 440 * 2 ** (rng.uniform(-0.3, 0.3) / 12)
        self.run(0.02, struct.pack("<B15x4xIi", CONTROLLER, ALL_SOUND_OFF, 0))
        for _ in range(20):  # until the tail of the last note is gone
            if np.abs(self.run(0.1)).max() < 1e-5:
                break
        return self.run(SECONDS, struct.pack("<B15x4B8x", NOTE_ON, 0, pitch, velocity, 0))


def encoded_voices(voices: bytes) -> str:
    """Write packed DX7 voices as hexter's configuration has them: their 7-bit words, six bits a character."""
    bits = "".join(f"{byte & 127:07b}" for byte in voices)
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    code = "".join(letters[int(bits[start : start + 6].ljust(6, "0"), 2)] for start in range(0, len(bits), 6))
    return f"{len(voices)} {code} {sum(byte & 127 for byte in voices)}"
