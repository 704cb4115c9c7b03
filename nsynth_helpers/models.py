"""The networks: the recurrent classifier of the report, and the two of the reports before it."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.settings import InputError

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
READOUTS = ("last", "final", "mean", "max", "mean_max", "attention")
FRONT_ENDS = ("frames", "log_mel")
DEEPEST = 80  # decibels below the loudest point, where a spectrogram ends
# Of the augmentation of a spectrogram: cosines of the curve and their decibels, the longest mask as a share of bands or
# steps, how far the noise floor rises and how far it scatters, in decibels.
COSINES, CURVE_DECIBEL, MASKED, HIGHEST_FLOOR, SCATTER = 4, 6, 0.2, 50, 2


class SpectrumAugmentation(nn.Module):
    """Recolours and hides parts of a note's spectrogram in training, anew each time; in evaluation it does nothing.

    Each note gets a smooth random curve over the bands (cosines, together of 6 dB), a masked stretch of bands and one
    of steps (up to a fifth of each), and a noise floor 30 to 80 dB below its loudest point. All of it grows with
    `strength`: at half of it, the curve has 3 dB, the masks a tenth, and the floor lies 55 to 80 dB below.
    """

    def __init__(self, strength: float):
        super().__init__()
        self.strength = strength

    def forward(self, decibel: torch.Tensor) -> torch.Tensor:
        """``decibel (batch, bands, steps)`` to the same shape."""
        if not self.training:
            return decibel
        (batch, bands, _), draw = decibel.shape, {"device": decibel.device}
        angle = torch.arange(0.5, bands, **draw) * (math.pi / bands)
        waves = (angle * torch.arange(1, COSINES + 1, **draw).unsqueeze(1)).cos()  # (cosines, bands)
        sizes = self.strength * CURVE_DECIBEL * math.sqrt(2 / COSINES)
        decibel = decibel + (sizes * torch.randn(batch, COSINES, **draw) @ waves).unsqueeze(2)
        decibel = decibel - decibel.amax(dim=(1, 2), keepdim=True)
        for axis in (1, 2):
            size = decibel.shape[axis]
            width, start = torch.rand(2, batch, 1, **draw) * size
            place = torch.arange(size, **draw) - start
            hidden = (place >= 0) & (place < width * self.strength * MASKED)
            decibel = decibel.masked_fill(hidden.unsqueeze(3 - axis), -DEEPEST)
        floor = -DEEPEST + self.strength * HIGHEST_FLOOR * torch.rand(batch, 1, 1, **draw)
        noise = floor + SCATTER * torch.randn(decibel.shape, **draw)
        per_decibel = math.log(10) / 10
        return torch.logaddexp(per_decibel * decibel, per_decibel * noise) / per_decibel  # powers add


class LogMel(nn.Module):
    """Frames of a waveform to decibels below its loudest band, in mel bands, scaled from -1 (80 dB below) to 1.

    The bands are Slaney's, as in librosa: unscaled, they equal ``power_to_db(melspectrogram(...), ref=np.max)``.
    With `augmentation`, the decibels pass a `SpectrumAugmentation` of that strength.
    """

    def __init__(self, bands: int = 80, window: int = 1024, hop: int = 512, augmentation: float = 0.0):
        super().__init__()
        from librosa.filters import mel  # here, since it takes a while to load

        self.hop = hop
        self.augmentation = SpectrumAugmentation(augmentation) if augmentation else nn.Identity()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        filters = torch.from_numpy(mel(sr=SAMPLE_RATE, n_fft=window, n_mels=bands))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames (batch, steps, step_size)`` to ``(batch, 1 + samples // hop, bands)``, float32."""
        with torch.autocast(frames.device.type, enabled=False):
            size, window = len(self.window), self.window
            spectrum = torch.stft(
                frames.flatten(1), size, self.hop, window=window, pad_mode="constant", return_complex=True
            )
            power = self.filters @ (spectrum.real**2 + spectrum.imag**2)  # (batch, bands, steps)
            decibel = self.augmentation(10 * power.clamp_min(1e-10).log10())
            below = (decibel - decibel.amax(dim=(1, 2), keepdim=True)).clamp_min(-DEEPEST)
            return (below / 40 + 1).transpose(1, 2)


def _stem(channels: Sequence[int], hop: int) -> nn.Sequential:
    """Blocks of convolution on (batch, 1, bands, steps); each halves the bands, the first ones the steps, by `hop`."""
    blocks: list[nn.Module] = []
    for number, (before, after) in enumerate(zip([1, *channels], channels, strict=False)):
        stride = (2, 2 if hop >> number > 1 else 1)
        blocks += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*blocks)


class RecurrentClassifier(nn.Module):
    """A recurrent network over the frames of a note, and a linear layer to ten logits.

    The defaults are the LSTM of the 2018 report; ``bidirectional=True`` makes its BLSTM. The names of the weights
    (``rnn.*``, ``out.*``) are the report's, so its published weights load.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        ``rnn`` is the plain one.
    hidden_size : int
        Units in each layer and direction.
    readout : {"last", "final", "mean", "max", "mean_max", "attention"}
        What the linear layer sees: the output at the last step (2018), the final state of each direction, the mean or
        maximum over all steps, both, or a mean with learnt weights. At the last step the top layer's backward half
        has taken one step only and has no memory of its own.
    tanh : bool
        A tanh between readout and linear layer, which the report says it tried.
    dropout : float
        Dropout between layers, and before the linear layer.
    front_end : {"frames", "log_mel"}
        What a step of the recurrent network is: a frame of the waveform (2018), or a column of `LogMel`.
    hop, bands, window : int
        Of `LogMel`: samples from column to column (512: 32 ms), mel bands, samples of a window.
    stem : sequence of int
        Channels of blocks of 3 x 3 convolution, batch normalisation and ReLU between `LogMel` and the recurrence; each
        halves the bands.
    stem_hop : int
        Columns that the stem makes one step of: 1, or a power of 2, for which its first blocks halve the steps.
    spectrum_augmentation : float
        Strength of the `SpectrumAugmentation` in training, about 1; 0 is none.

    Attributes
    ----------
    samples_per_step : int
        Samples of the waveform from step to step.
    """

    def __init__(
        self,
        cell: str = "lstm",
        input_size: int = STEP_SIZE,
        hidden_size: int = 128,
        num_layers: int = 3,
        bidirectional: bool = False,
        readout: str = "last",
        tanh: bool = False,
        dropout: float = 0.0,
        front_end: str = "frames",
        hop: int = 512,
        bands: int = 80,
        window: int = 1024,
        stem: Sequence[int] = (),
        stem_hop: int = 1,
        spectrum_augmentation: float = 0.0,
    ):
        super().__init__()
        named = {"cell": (cell, CELLS), "readout": (readout, READOUTS), "front_end": (front_end, FRONT_ENDS)}
        for argument, (value, there) in named.items():
            if value not in there:
                raise InputError(f"{argument} is '{value}'; use one of {', '.join(there)}.")
        if front_end == "frames" and (stem or spectrum_augmentation):
            raise InputError("A stem and the augmentation of a spectrum need a spectrum; use front_end 'log_mel'.")
        hops = [2**blocks for blocks in range(len(stem) + 1)]
        fits = min(hop, bands >> len(stem), window - hop + 1, *stem) >= 1 and stem_hop in hops
        if not fits or spectrum_augmentation < 0:
            raise InputError(
                f"hop {hop}, bands {bands}, window {window}, stem {list(stem)}, stem_hop {stem_hop} and "
                f"spectrum_augmentation {spectrum_augmentation} do not fit together; use positive numbers, a window no "
                "shorter than the hop, at most a block of the stem for each time that the bands can be halved, and a "
                "stem_hop of 1, or 2 for each of the first blocks."
            )
        self.readout = readout
        self.front_end, self.samples_per_step = nn.Identity(), input_size
        if front_end == "log_mel":
            self.front_end = LogMel(bands, window, hop, spectrum_augmentation)
            input_size, self.samples_per_step = bands, hop * stem_hop
        self.stem = _stem(stem, stem_hop) if stem else None
        if stem:
            input_size = stem[-1] * math.ceil(bands / 2 ** len(stem))
        between = dropout if num_layers > 1 else 0.0
        self.rnn = CELLS[cell](
            input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional, dropout=between
        )
        self.activation = nn.Tanh() if tanh else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        features = hidden_size * (2 if bidirectional else 1)
        if readout == "attention":
            self.attention = nn.Linear(features, 1)
        self.out = nn.Linear(features * (2 if readout == "mean_max" else 1), len(FAMILIES))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames (batch, steps, input_size)``, float32, to ``logits (batch, families)``; initial states are zero."""
        return self._classify(self.states(frames))

    def states(self, frames: torch.Tensor) -> torch.Tensor:
        """What the linear layer sees of each note: ``(batch, out.in_features)``."""
        inputs = self._inputs(frames)
        if self.readout == "last" and self.rnn.bidirectional and inputs.device.type == "cpu":
            return self._last_outputs(inputs)
        outputs, state = self.rnn(inputs)  # outputs: (batch, steps, directions * hidden)
        if self.readout == "last":
            return outputs[:, -1]
        if self.readout == "mean":
            return outputs.mean(dim=1)
        if self.readout == "max":
            return outputs.amax(dim=1)
        if self.readout == "mean_max":
            return torch.cat([outputs.mean(dim=1), outputs.amax(dim=1)], dim=1)
        if self.readout == "attention":
            return (self.attention(outputs).softmax(dim=1) * outputs).sum(dim=1)
        hidden = state[0] if isinstance(state, tuple) else state  # (layers * directions, batch, hidden)
        return torch.cat(tuple(hidden[-2:] if self.rnn.bidirectional else hidden[-1:]), dim=1)

    def logits_per_step(self, frames: torch.Tensor) -> torch.Tensor:
        """``logits (batch, steps, families)``: what the output layer says after every step, of the steps up to there.

        The last step's are those of `forward`. With ``readout="final"`` it is given each step's output, and they are
        not, in two directions.
        """
        outputs, _ = self.rnn(self._inputs(frames))
        if self.readout in ("mean", "max", "mean_max"):
            steps = torch.arange(1, outputs.shape[1] + 1, device=outputs.device).unsqueeze(1)
            mean, most = outputs.cumsum(dim=1) / steps, outputs.cummax(dim=1).values
            outputs = {"mean": mean, "max": most, "mean_max": torch.cat([mean, most], dim=2)}[self.readout]
        elif self.readout == "attention":
            scores = self.attention(outputs)
            weights = (scores - scores.amax(dim=1, keepdim=True)).exp()
            outputs = (weights * outputs).cumsum(dim=1) / weights.cumsum(dim=1)
        return self._classify(outputs)

    def _inputs(self, frames: torch.Tensor) -> torch.Tensor:
        """What the recurrence takes: ``(batch, steps, features)``."""
        inputs = self.front_end(frames)
        if self.stem is None:
            return inputs
        picture = self.stem(inputs.transpose(1, 2).unsqueeze(1))  # (batch, channels, bands, steps)
        return picture.flatten(1, 2).transpose(1, 2)

    def _last_outputs(self, frames: torch.Tensor) -> torch.Tensor:
        """``self.rnn(frames)[0][:, -1]`` of two directions, bit for bit, in four fifths of the time.

        At the last step, the top layer's backward half has taken its first step: the others need not be computed.
        """
        rnn, weights = self.rnn, self.rnn._flat_weights

        def run(inputs: torch.Tensor, weights: list, layers: int, both: bool) -> torch.Tensor:
            zeros = inputs.new_zeros(layers * (1 + both), len(inputs), rnn.hidden_size)
            state = (zeros, zeros) if rnn.mode == "LSTM" else zeros
            recurrence = getattr(torch, rnn.mode.lower())  # what the module itself calls: lstm, gru, rnn_tanh
            return recurrence(inputs, state, weights, True, layers, rnn.dropout, self.training, both, True)[0]

        if rnn.num_layers > 1:
            frames = run(frames, weights[:-8], rnn.num_layers - 1, both=True)
            frames = nn.functional.dropout(frames, rnn.dropout, self.training)
        onward = run(frames, weights[-8:-4], 1, both=False)[:, -1]
        return torch.cat([onward, run(frames[:, -1:], weights[-4:], 1, both=False)[:, 0]], dim=1)

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(self.activation(features)))


class AbsoluteValue(nn.Module):
    """``|x|``: a waveform and its negative sound the same, and this activation answers both alike."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.abs()


class FullyConnected(nn.Module):
    """A plain fully connected network on the whole waveform, standing in for that of the 2018 group's first report.

    Its architecture was never published; this one has about as many parameters as the LSTM. Each hidden layer is a
    linear one with batch normalisation, activation and dropout; the first takes absolute values, the others ReLU.
    """

    def __init__(self, samples: int = SAMPLE_RATE):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs, activation in ((samples, 25, AbsoluteValue()), (25, 128, nn.ReLU()), (128, 64, nn.ReLU())):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), activation, nn.Dropout(0.3)]
        self.layers = nn.Sequential(*layers, nn.Linear(64, len(FAMILIES)))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames (batch, steps, step_size)`` to ``logits (batch, families)``."""
        return self.layers(frames)


class ConvNet(nn.Module):
    """A plain 1-D convolutional network on the waveform, standing in for that of the 2018 group's second report.

    Its architecture was never published; this one has about as many parameters as the LSTM. The first convolution
    looks at 64 samples (4 ms) every 16; the mean over time makes the network indifferent to where in the second
    something sounds.
    """

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        # Channels in and out, kernel, stride.
        for shape in ((1, 32, 64, 16), (32, 64, 8, 4), (64, 128, 8, 4), (128, 128, 8, 2), (128, 192, 8, 2)):
            layers += [nn.Conv1d(*shape, padding=shape[2] // 2), nn.BatchNorm1d(shape[1]), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.out = nn.Linear(192, len(FAMILIES))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames (batch, steps, step_size)`` to ``logits (batch, families)``."""
        return self.out(self.layers(frames.flatten(1).unsqueeze(1)))


# The best recurrent network of the workbook, and how it is trained: fields of `RunConfig`.
STUDIO = {
    **{"front_end": "log_mel", "hop": 256, "stem": [16, 32, 64, 96], "stem_hop": 4, "spectrum_augmentation": 1.0},
    **{"cell": "gru", "bidirectional": True, "hidden_size": 96, "num_layers": 2, "readout": "mean_max", "dropout": 0.3},
}
RECIPES = {
    "studio": {
        "network_arguments": STUDIO,
        **{"epochs": 12, "batch_size": 64, "learning_rate": 0.002, "optimizer": "adamw", "weight_decay": 0.02},
        **{"schedule": "one_cycle", "gradient_clip": 1.0, "label_smoothing": 0.1, "mixup": 0.3},
        **{"waveform_augmentation": 1.0, "sampling": "nsynth", "rendered_weight": 0.15},
    }
}
# The named networks of the workbook; further arguments change one of them.
NETWORKS = {
    "lstm": (RecurrentClassifier, {}),
    "blstm": (RecurrentClassifier, {"bidirectional": True}),
    "gru": (RecurrentClassifier, {"cell": "gru"}),
    "rnn": (RecurrentClassifier, {"cell": "rnn"}),
    "fully_connected": (FullyConnected, {}),
    "convolutional": (ConvNet, {}),
    "studio": (RecurrentClassifier, STUDIO),
}


def build_network(name: str, **arguments) -> nn.Module:
    """Make a network by its name in `NETWORKS`; further arguments override its own; `InputError` if it takes no such.

    Examples
    --------
    >>> count_parameters(build_network("lstm"))
    413962
    """
    if name not in NETWORKS:
        raise InputError(f"There is no network '{name}'; use one of {', '.join(NETWORKS)}.")
    network, defaults = NETWORKS[name]
    try:
        return network(**(defaults | arguments))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"The {name} network cannot be built with {arguments} ({error}); change them.") from None


def count_parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
