import gc
import weakref

from seeahead.garbage import loaded_is_none


def test_what_was_there_is_spared_as_long_as_it_is_wanted():
    class Ring:
        def __init__(self):
            self.self = self

    old = weakref.ref(Ring())
    with loaded_is_none():
        assert old() is None, "what was garbage before is gone"
        kept = Ring()
        there, new = weakref.ref(kept), weakref.ref(Ring())
        gc.collect()
        assert new() is None
        assert gc.get_freeze_count() > 1000
    del kept
    gc.collect()
    assert there() is None
    assert gc.get_freeze_count() == 0
