"""An ONNX file as a backbone, run by onnxruntime (extra `onnx`)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aisles.data_prep.images.color import VERSION
from aisles.data_prep.images.fitting import Fitting
from aisles.data_prep.io.files import sha256_of

from .normalization import normalized

Pool = Literal["mean", "class+mean"]


@dataclass(frozen=True, eq=False)
class OnnxBackbone:
    """A network in an ONNX file, up to one of its tensors.

    Attributes
    ----------
    name : str
    file : Path
        What follows behind `output` in the graph is not computed.
    output : str
        Name of the tensor that becomes the features: (n, d), maps (n, d, h, w), or tokens (n, t, d).
    fitting : Fitting
    normalization : str
        A key of `aisles.models.backbones.normalization.NORMALIZATIONS`.
    channels : {'first', 'last'}
        Where the network's input has its channels.
    pool : {'mean', 'class+mean'}
        What happens to maps and tokens: their mean; or the first token and the mean of the others, side by side.
    weights, precision : str
    """

    name: str
    file: Path
    output: str
    fitting: Fitting
    normalization: str = "imagenet"
    channels: Literal["first", "last"] = "first"
    pool: Pool = "mean"
    weights: str = "imagenet"
    precision: str = "float32"

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How an image becomes pixels; one only."""
        return (self.fitting,)

    @cached_property
    def key(self) -> str:
        """A name for everything that the features depend on, apart from the image."""
        facts = f"{sha256_of(self.file)} {self.output} {self.pool} {self.channels}"
        identity = hashlib.sha256(facts.encode()).hexdigest()[:16]
        return f"{self.name}-{self.normalization}-{self.fitting.key}-onnx-d{VERSION}-{identity}"

    @cached_property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return self.runner()(np.zeros((1, *self.fitting.size, 3), np.uint8)).shape[1]

    @cached_property
    def n_parameters(self) -> int:
        """Numbers among the file's constants."""
        import onnx

        return sum(int(np.prod(tensor.dims)) for tensor in onnx.load(self.file).graph.initializer)

    @property
    def network(self) -> Any:
        """Raise: an ONNX file is no network of Keras."""
        raise ValueError(
            f"{self.name} is an ONNX file: it is neither fine-tuned, exported nor looked into. Keep it frozen "
            "(--sharing frozen), or choose a backbone of Keras."
        )

    model = network

    def runner(self) -> Callable[..., np.ndarray]:
        """Return the function from uint8 pixels (n, height, width, 3) to features (n, dimension), float32."""
        session, source = self._session

        def run(pixels: np.ndarray) -> np.ndarray:
            numbers = normalized(np.asarray(pixels), self.normalization)
            numbers = numbers.transpose(0, 3, 1, 2) if self.channels == "first" else numbers
            (outputs,) = session.run([self.output], {source: np.ascontiguousarray(numbers)})
            return self._pooled(outputs).astype(np.float32)

        return run

    def in_precision(self, precision: str) -> "OnnxBackbone":
        """Return itself; only float32 is there."""
        if precision != self.precision:
            raise ValueError(
                f"{self.name} runs in onnxruntime, in {self.precision} only. Received: {precision!r}."
            )
        return self

    @cached_property
    def _session(self) -> tuple[Any, str]:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                f"The backbone {self.name} needs the package {error.name}. "
                "Install it with: python -m pip install '.[onnx]'."
            ) from error
        model = onnx.load(self.file)
        made = {name for node in model.graph.node for name in node.output}
        if self.output not in made:
            named = [node.output[0] for node in model.graph.node][-5:]
            raise ValueError(
                f"{self.file} computes no {self.output!r}. The last it computes: {', '.join(named)}."
            )
        del model.graph.output[:]
        model.graph.output.append(onnx.ValueInfoProto(name=self.output))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session, session.get_inputs()[0].name

    def _pooled(self, outputs: np.ndarray) -> np.ndarray:
        if outputs.ndim == 4:
            axes = (2, 3) if self.channels == "first" else (1, 2)
            return outputs.mean(axes)
        if outputs.ndim == 3:
            if self.pool == "mean":
                return outputs.mean(1)
            return np.concatenate([outputs[:, 0], outputs[:, 1:].mean(1)], axis=1)
        if outputs.ndim == 2:
            return outputs
        raise ValueError(
            f"{self.output} of {self.file} has the shape {outputs.shape}: no maps, tokens or vectors."
        )
