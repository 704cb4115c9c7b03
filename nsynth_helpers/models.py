"""The networks: the recurrent classifier of the report, and the two of the reports before it."""

import torch
from torch import nn

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.settings import InputError

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
READOUTS = ("last", "final", "mean", "max")
FRONT_ENDS = ("frames", "log_mel")


class LogMel(nn.Module):
    """Frames of a waveform to decibels below its loudest band, in mel bands, scaled from -1 (80 dB below) to 1.

    The bands are Slaney's, as in librosa: unscaled, they equal ``power_to_db(melspectrogram(...), ref=np.max)``.
    """

    def __init__(self, bands: int = 80, window: int = 1024, hop: int = 512):
        super().__init__()
        from librosa.filters import mel  # here, since it takes a while to load

        self.hop = hop
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
            decibel = 10 * power.clamp_min(1e-10).log10()
            below = (decibel - decibel.amax(dim=(1, 2), keepdim=True)).clamp_min(-80)
            return (below / 40 + 1).transpose(1, 2)


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
    readout : {"last", "final", "mean", "max"}
        What the linear layer sees: the output at the last step (2018), the final state of each direction, or the
        mean or maximum over all steps. At the last step the top layer's backward half has taken one step only and
        has no memory of its own.
    tanh : bool
        A tanh between readout and linear layer, which the report says it tried.
    dropout : float
        Dropout between layers, and before the linear layer.
    front_end : {"frames", "log_mel"}
        What a step of the recurrent network is: a frame of the waveform (2018), or a column of `LogMel`, every 32 ms.
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
    ):
        super().__init__()
        named = {"cell": (cell, CELLS), "readout": (readout, READOUTS), "front_end": (front_end, FRONT_ENDS)}
        for argument, (value, there) in named.items():
            if value not in there:
                raise InputError(f"{argument} is '{value}'; use one of {', '.join(there)}.")
        self.readout = readout
        self.front_end = LogMel() if front_end == "log_mel" else nn.Identity()
        if front_end == "log_mel":
            input_size = len(self.front_end.filters)
        between = dropout if num_layers > 1 else 0.0
        self.rnn = CELLS[cell](
            input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional, dropout=between
        )
        self.activation = nn.Tanh() if tanh else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_size * (2 if bidirectional else 1), len(FAMILIES))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """``frames (batch, steps, input_size)``, float32, to ``logits (batch, families)``; initial states are zero."""
        return self._classify(self.states(frames))

    def states(self, frames: torch.Tensor) -> torch.Tensor:
        """What the linear layer sees of each note: ``(batch, directions * hidden_size)``."""
        frames = self.front_end(frames)
        if self.readout == "last" and self.rnn.bidirectional and frames.device.type == "cpu":
            return self._last_outputs(frames)
        outputs, state = self.rnn(frames)  # outputs: (batch, steps, directions * hidden)
        if self.readout == "last":
            return outputs[:, -1]
        if self.readout == "mean":
            return outputs.mean(dim=1)
        if self.readout == "max":
            return outputs.amax(dim=1)
        hidden = state[0] if isinstance(state, tuple) else state  # (layers * directions, batch, hidden)
        return torch.cat(tuple(hidden[-2:] if self.rnn.bidirectional else hidden[-1:]), dim=1)

    def logits_per_step(self, frames: torch.Tensor) -> torch.Tensor:
        """``logits (batch, steps, families)``: the output layer after every step, not the last one alone.

        With ``readout="last"``, the last step's are those of `forward`.
        """
        outputs, _ = self.rnn(self.front_end(frames))
        return self._classify(outputs)

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


# The named networks of the workbook; further arguments change one of them.
NETWORKS = {
    "lstm": (RecurrentClassifier, {}),
    "blstm": (RecurrentClassifier, {"bidirectional": True}),
    "gru": (RecurrentClassifier, {"cell": "gru"}),
    "rnn": (RecurrentClassifier, {"cell": "rnn"}),
    "fully_connected": (FullyConnected, {}),
    "convolutional": (ConvNet, {}),
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
