"""A fitted `HierarchicalEstimator` as a folder of numbers and JSON: nothing is pickled, no code is stored or run.

`estimator.json` describes it and has its own SHA-256 and that of `estimator.npz`, which holds the arrays, and the
probabilities of a few rows. These are computed again on loading, so that a version of scikit-learn that answers
otherwise is found out. Classes of `SAVABLE` alone are written and restored: their fitted state is numbers and text.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.random import RandomState

from aisles.data_prep.io.arrays import read_arrays
from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.files import sha256_of
from aisles.data_prep.io.whole_folder import put_back, whole_folder
from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.sklearn_estimator import HierarchicalEstimator

SCHEMA = 1
DESCRIPTION, ARRAYS = "estimator.json", "estimator.npz"
LARGEST_JSON = 64 * 2**20
SAVABLE = {
    name: f"sklearn.{module}"
    for module, names in {
        "linear_model": "LogisticRegression LogisticRegressionCV Perceptron RidgeClassifier SGDClassifier",
        "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
        "naive_bayes": "BernoulliNB ComplementNB GaussianNB MultinomialNB",
        "neighbors": "NearestCentroid",
        "neural_network": "MLPClassifier",
        "svm": "LinearSVC",
        "pipeline": "Pipeline",
        "preprocessing": "LabelBinarizer MaxAbsScaler MinMaxScaler Normalizer RobustScaler StandardScaler",
        "impute": "SimpleImputer",
        "decomposition": "PCA TruncatedSVD",
    }.items()
    for name in names.split()
}
"""The scikit-learn classes that are saved, and the module of each."""
_FITTING_ONLY = {"_optimizer", "_random_state", "_loss_function_", "loss_function_", "_sklearn_output_config"}
_PROBES, _SAME = 4, 1e-6
_FITTED = ("classes_", "router_", "submodels_", "flat_")


def save_estimator(estimator: HierarchicalEstimator, folder: str | Path) -> Path:
    """Write a fitted estimator; an estimator at `folder` is replaced once the new one is whole.

    Raises
    ------
    FileExistsError
        If `folder` exists, is not empty and holds no estimator.
    ValueError
        If the estimator is not fitted, or a stage is of a class that can't be saved as numbers.
    """
    folder = Path(folder)
    if not hasattr(estimator, "router_"):
        raise ValueError("`estimator` is not fitted. Call fit(X, y), then save it.")
    if (
        folder.exists()
        and not (folder / DESCRIPTION).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise FileExistsError(
            f"{folder} exists and holds no estimator. Choose another folder, or empty this one."
        )
    given = estimator.hierarchy
    writer = _Writer()
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "parameters": {
            name: writer.encoded(value, name)
            for name, value in estimator.get_params(deep=False).items()
            if name != "hierarchy"
        },
        "given_hierarchy": None if given is None else json.loads(Hierarchy.of(given).to_json()),
        "hierarchy": json.loads(estimator.hierarchy_.to_json()),
        "n_macros_reason": estimator.n_macros_reason_,
        "n_features": int(vars(estimator)["n_features_in_"]),
        "feature_names": [str(name) for name in getattr(estimator, "feature_names_in_", ())],
        "fitted": {name: writer.encoded(getattr(estimator, name), name) for name in _FITTED},
        "versions": {name: version(name) for name in ("aisles", "numpy", "scikit-learn")},
    }
    writer.arrays["probes"] = _probed(estimator)
    with whole_folder(folder) as part:
        np.savez_compressed(part / ARRAYS, **cast(dict[str, Any], writer.arrays))
        content["arrays_sha256"] = sha256_of(part / ARRAYS)
        content["sha256"] = _own_hash(content)
        (part / DESCRIPTION).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return folder


def load_estimator(folder: str | Path) -> HierarchicalEstimator:
    """Read a fitted estimator, after its hashes were checked.

    Raises
    ------
    DataError
        If a file is missing or has changed, the description makes no estimator, or the installed scikit-learn gives
        other answers than the one that the estimator was saved with.
    """
    folder = Path(folder)
    put_back(folder)
    content = _described(folder)
    if not (folder / ARRAYS).is_file() or sha256_of(folder / ARRAYS) != content.get("arrays_sha256"):
        raise DataError(
            f"{folder / ARRAYS} is missing or has changed since it was written (SHA-256 differs). Copy it again."
        )
    arrays = read_arrays(folder / ARRAYS)
    try:
        if int(content["n_features"]) > max(10**6, *(held.size for held in arrays.values())):
            raise ValueError(f"{content['n_features']} features, which no array here has weights for")
        estimator = _restored(content, arrays)
        answers = _probed(estimator)
    except DataError:
        raise
    except (
        KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, ZeroDivisionError
    ) as error:  # fmt: skip
        raise DataError(f"{folder} doesn't describe an estimator that answers: {error!r}.") from error
    if answers.shape != arrays["probes"].shape or not np.allclose(
        answers, arrays["probes"], rtol=0, atol=_SAME
    ):
        saved = content.get("versions", {}).get("scikit-learn")
        raise DataError(
            f"{folder} was saved with scikit-learn {saved}, and version {version('scikit-learn')} gives other answers "
            f"for it. Install that version, or fit it again."
        )
    return estimator


def _described(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise DataError(f"{path} has over {LARGEST_JSON} bytes: no estimator needs that.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} can't be read: {error}. Save the estimator again.") from error
    if (
        not isinstance(content, dict)
        or content.get("schema") != SCHEMA
        or isinstance(content["schema"], bool)
    ):
        raise DataError(
            f"{path} is of another schema than {SCHEMA}. Save the estimator again, or update aisles."
        )
    if content.get("sha256") != _own_hash(content):
        raise DataError(f"{path} has changed since it was written (SHA-256 differs). Copy or save it again.")
    return content


def _restored(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> HierarchicalEstimator:
    reader = _Reader(arrays)
    parameters = {name: reader.decoded(value) for name, value in content["parameters"].items()}
    given = content["given_hierarchy"]
    estimator: Any = HierarchicalEstimator(
        **parameters, hierarchy=None if given is None else Hierarchy.from_json(json.dumps(given))
    )
    for name in _FITTED:
        setattr(estimator, name, reader.decoded(content["fitted"][name]))
    estimator.hierarchy_ = Hierarchy.from_json(json.dumps(content["hierarchy"]))
    estimator.n_macros_reason_ = content["n_macros_reason"]
    estimator.n_features_in_ = int(content["n_features"])
    if content["feature_names"]:
        estimator.feature_names_in_ = np.array(content["feature_names"], dtype=object)
    estimator._column = estimator._columns()
    return estimator


def _probed(estimator: HierarchicalEstimator) -> np.ndarray:
    """Return what it answers on a few rows that are always the same."""
    rows = np.abs(np.random.default_rng(0).normal(size=(_PROBES, vars(estimator)["n_features_in_"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows without names of columns, and of numbers that overflow
        return estimator.predict_proba(rows)


class _Writer:
    """Values to JSON, their arrays aside."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encoded(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.encoded(item, name) for item in value]}
        if isinstance(value, dict):
            return {
                "dict": [[self.encoded(key, name), self.encoded(item, name)] for key, item in value.items()]
            }
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value), name)
        if isinstance(value, RandomState | np.random.Generator):
            return {"value": None}  # of use in fitting only
        kind = type(value).__name__
        if SAVABLE.get(kind) is None or not type(value).__module__.startswith(SAVABLE[kind]):
            raise ValueError(
                f"`{name}` holds a {kind}, which can't be saved as numbers. Saved are: {', '.join(sorted(SAVABLE))}. "
                "Fit with one of these, or keep the estimator by joblib.dump, whose files run code when loaded."
            )
        state = {key: item for key, item in vars(value).items() if key not in _FITTING_ONLY}
        return {
            "class": kind,
            "state": {key: self.encoded(item, f"{kind}.{key}") for key, item in state.items()},
        }

    def _array(self, value: np.ndarray, name: str) -> Any:
        if value.dtype.hasobject:
            if not all(item is None or isinstance(item, str) for item in value.ravel()):
                raise ValueError(f"`{name}` holds Python objects other than text, which can't be saved.")
            return {"texts": value.ravel().tolist(), "shape": list(value.shape)}
        key = f"a{len(self.arrays)}"
        self.arrays[key] = value
        return {"array": key}


class _Reader:
    """JSON and arrays to values."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def decoded(self, content: Any) -> Any:
        if "class" in content:
            return self._instance(content["class"], content["state"])
        ((kind, inner),) = [(key, value) for key, value in content.items() if key != "shape"]
        if kind == "value" and (inner is None or isinstance(inner, bool | int | float | str)):
            return inner
        if kind in ("list", "tuple"):
            return (list if kind == "list" else tuple)(self.decoded(item) for item in inner)
        if kind == "dict":
            return {self.decoded(key): self.decoded(item) for key, item in inner}
        if kind == "dtype":
            return np.dtype(str(inner))
        if kind == "texts":
            return np.array([None if item is None else str(item) for item in inner], dtype=object).reshape(
                content["shape"]
            )
        if kind != "array":
            raise DataError(f"An estimator holds no {kind!r}. Save it again, or update aisles.")
        found = self.arrays[inner]
        return found[()] if found.ndim == 0 else found

    def _instance(self, name: str, state: Mapping[str, Any]) -> Any:
        if name not in SAVABLE:
            raise DataError(f"An estimator holds no {name!r}, only: {', '.join(sorted(SAVABLE))}.")
        kind = getattr(import_module(SAVABLE[name]), name)
        made = kind.__new__(kind)
        for key, value in state.items():
            if key.startswith("__"):
                raise DataError(f"A {name} has no attribute {key!r}.")
            setattr(made, key, self.decoded(value))
        return made


def _own_hash(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()
