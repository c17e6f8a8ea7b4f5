"""The heads of the published study: which layers each variant has, and how long the published study trained it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HeadVariant:
    """What a head is made of.

    Attributes
    ----------
    dense_units : tuple of int
        Units of each hidden Dense + ReLU layer.
    batch_norm : bool
        Whether batch normalization follows each hidden layer.
    dropout : float
        Share dropped after each hidden layer; 0 for none.
    augmentation : bool
        Whether the published study trained this variant on augmented images.
    study_epochs : tuple of int
        Epochs of the frozen and of the second phase in which the published study trained this variant.
    """

    dense_units: tuple[int, ...]
    batch_norm: bool
    dropout: float
    augmentation: bool
    # No part of what is built, so a stage that records the head (by its repr) doesn't depend on it.
    study_epochs: tuple[int, int] = field(default=(20, 15), repr=False)


VARIANTS = {
    "v1.1": HeadVariant((256,), batch_norm=True, dropout=0.4, augmentation=True),
    "v1.2": HeadVariant((256,), batch_norm=True, dropout=0.4, augmentation=False),
    "v1.3": HeadVariant((256,), batch_norm=False, dropout=0.4, augmentation=True, study_epochs=(40, 25)),
    "v1.4": HeadVariant((256,), batch_norm=True, dropout=0.0, augmentation=True),
    "v2.1": HeadVariant((256, 512), batch_norm=True, dropout=0.4, augmentation=True),
    "v2.2": HeadVariant((512, 1024), batch_norm=True, dropout=0.4, augmentation=True),
    # The published study says "three dense layers and dropout" and no sizes: two hidden layers and softmax are assumed.
    "vgg": HeadVariant((256, 128), batch_norm=False, dropout=0.4, augmentation=True),
}
