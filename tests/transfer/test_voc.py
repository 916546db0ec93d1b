"""Fine-tuning on VOC's layout as users call it."""

from benchmark.records import RunRecord
from tests.transfer.runs import flags, voc_root
from transfer import voc


def test_voc_from_its_own_layout(tmp_path_factory, tmp_path):
    data = voc_root(tmp_path_factory.mktemp("voc"))
    words = ["SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0"]
    assert voc.main(flags(tmp_path, data, *words, protocol="embedded-voc")) == 0
    (path,) = (tmp_path / "records").glob("*.json")
    record = RunRecord.read(path)
    assert (record.status, record.protocol, set(record.metrics)) == ("completed", "embedded-voc", {"bbox"})
    assert set(record.metrics["bbox"]) >= {"AP", "AP50", "AP75"}
