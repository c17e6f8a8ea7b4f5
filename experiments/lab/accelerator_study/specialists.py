"""How specialists' answers and the flat model's become class probabilities. Arithmetic on arrays."""

import numpy as np


def by_flat_macro(flat: np.ndarray, joint: np.ndarray, macro_of_class: np.ndarray) -> np.ndarray:
    """Return flat's probability of the macro times the specialist's of the class, given that it is none of `other`.

    Parameters
    ----------
    flat : ndarray of shape (n, n_classes)
        Probabilities of the flat model.
    joint : ndarray of shape (n, n_classes)
        Of each class by the specialist of its macro, whose remaining probability is that of `other`.
    macro_of_class : int ndarray of shape (n_classes,)

    Returns
    -------
    float64 ndarray of shape (n, n_classes)
        Rows sum to 1 if flat's do.
    """
    flat, joint = flat.astype(np.float64), joint.astype(np.float64) + 1e-7
    member = np.eye(int(macro_of_class.max()) + 1)[macro_of_class]  # (n_classes, n_macros)
    return (flat @ member)[:, macro_of_class] * joint / (joint @ member)[:, macro_of_class]


def by_specialists(flat: np.ndarray, joint: np.ndarray, macro_of_class: np.ndarray) -> np.ndarray:
    """Return the specialists' probabilities side by side, scaled to a sum of 1; parameters as `by_flat_macro`."""
    joint = joint.astype(np.float64) + 1e-7
    return joint / joint.sum(1, keepdims=True)


def by_both(flat: np.ndarray, joint: np.ndarray, macro_of_class: np.ndarray) -> np.ndarray:
    """Return the geometric mean of flat's probabilities and the specialists', scaled to a sum of 1."""
    product = np.sqrt((flat.astype(np.float64) + 1e-7) * by_specialists(flat, joint, macro_of_class))
    return product / product.sum(1, keepdims=True)


RULES = {"flat macro": by_flat_macro, "specialists": by_specialists, "both": by_both}
