"""Mutants that compute the same as the original: (file, line of source, change) -> why no test can tell them apart."""

_START = "return spectral_radius(lambda v: left.mT @ (right @ v) / m + shift * v, left[0])"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("pretrain/losses/kernel_ssl/radius.py", _START, "0 -> 1"): "only length, dtype and device of the row are used",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_SMALL = 0.05  # below this ratio log(1 + x) / x and its derivative come from their series",
        "0.05 -> 0.07500000000000001",
    ): "the series of 14 terms is exact to rounding there too",
    (
        "transfer/protocols/overrides.py",
        "for key, value in zip(words[::2], words[1::2], strict=True):",
        "True -> False",
    ): "the number of words is even there, so that both halves are of one length",
}
