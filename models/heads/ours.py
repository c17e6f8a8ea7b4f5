"""The heads that come with the package, registered like anyone's."""

from .closed_form import fit_knn, fit_lda, fit_logistic, knn_grid, lda_grid, logistic_grid
from .quadratic import fit_rda, rda_grid
from .registry import HEADS, HeadDefinition, register_head
from .tuned_layers import GRID, fit_layers
from .variants import VARIANTS

for _name, _variant in VARIANTS.items():
    _layers = " + ".join(map(str, _variant.dense_units))
    HEADS.add(
        _name,
        HeadDefinition(
            _name, f"the published study's {_name}: dense layers of {_layers} units", variant=_variant
        ),
    )

register_head(
    "lda",
    description="shrinkage linear discriminant, raw or square-root features",
    grid=lda_grid,
    deterministic=True,
)(fit_lda)
register_head(
    "logistic",
    description="logistic regression, raw or square-root features",
    grid=logistic_grid,
    deterministic=True,
)(fit_logistic)
register_head(
    "rda",
    description="quadratic discriminant, each class's covariance drawn towards the common one",
    grid=rda_grid,
    deterministic=True,
)(fit_rda)
register_head("knn", description="nearest neighbors by cosine, weighed", grid=knn_grid, deterministic=True)(
    fit_knn
)
register_head("mlp", description="one hidden layer, its width, dropout and epochs tuned", grid=GRID)(
    fit_layers
)
