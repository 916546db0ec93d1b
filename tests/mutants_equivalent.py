"""Mutants that compute the same as the original: (file, line of source, change) -> why no test can tell them apart."""

# A draw from [0, 1) equals a probability in one of 2^53 cases, and then alone `<` and `<=` differ.
_ONCE_IN_2_53 = "differs where a draw equals the probability exactly, once in 2^53"
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
    (
        "pretrain/images/parameters.py",
        "jitter = _draw_jitter(rng, recipe) if rng.random() < recipe.jitter_p else None",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    ("pretrain/images/parameters.py", "gray = rng.random() < recipe.gray_p", "Lt -> LtE"): _ONCE_IN_2_53,
    (
        "pretrain/images/parameters.py",
        "blur = float(rng.uniform(*recipe.blur_sigma)) if rng.random() < recipe.blur_p else None",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    ("pretrain/images/parameters.py", "solarize = rng.random() < recipe.solarize_p", "Lt -> LtE"): _ONCE_IN_2_53,
    (
        "pretrain/images/parameters.py",
        "return ViewParameters(box, jitter, bool(gray), blur, bool(solarize), bool(rng.random() < recipe.flip_p))",
        "Lt -> LtE",
    ): _ONCE_IN_2_53,
    (
        "pretrain/images/batched.py",
        "index = (sector.long() % 6)[None, None].expand(3, 1, -1, -1, -1)",
        "1 -> 2",
    ): "the second copy that this makes is dropped in the next line",
    (
        "pretrain/images/loading.py",
        "cv2.setNumThreads(0)",
        "0 -> 1",
    ): "no threads and one thread are the same to OpenCV: nothing runs beside the caller",
    (
        "pretrain/training/hooks.py",
        "self._begun = 0.0",
        "0.0 -> 0.5",
    ): "set before every step, so that this value is never read",
    (
        "pretrain/training/hooks.py",
        "def __init__(self, say: Callable[[str], None], window: int = 50, warmup: int = 0):",
        "0 -> 1",
    ): "two windows are compared after 2 * window iterations at the earliest, which is window + 1 or more",
    (
        "pretrain/training/gradient_cache.py",
        "rows = tuple(torch.cat(pieces) for pieces in zip(*(part.rows for part in parts), strict=True))",
        "True -> False",
    ): "every part comes from one method's encode, which returns as many rows each time",
    (
        "pretrain/methods/swav.py",
        "self._full = bool(o.queue_size) and bool(self.queue[0, -1].any())",
        "0 -> 1",
    ): "the queues of both views are filled by the same step",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_TERMS = 14  # 0.05^14 is below float64's rounding",
        "14 -> 15",
    ): "the fifteenth term is below float64's rounding",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "small = x < _SMALL",
        "Lt -> LtE",
    ): "series and formula agree to rounding where they meet",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "_CLOSE = 1e-5  # eigenvalues relatively nearer than this share the derivative at their middle",
        "1e-05 -> 1.5000000000000002e-05",
    ): "quotient and derivative agree to the same rounding on both sides of either border",
    (
        "pretrain/losses/kernel_ssl/eigen.py",
        "close = difference.abs() < _CLOSE * (middle + scale)",
        "Lt -> LtE",
    ): "quotient and derivative agree there to rounding",
}
