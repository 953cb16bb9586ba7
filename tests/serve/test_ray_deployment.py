"""What a deployment asks of Ray, which need not be installed for that."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from seeahead.serve import settings
from seeahead.serve.app import create_app
from seeahead.serve.settings import settings_from
from tests.serve.test_page import Nobody


@pytest.fixture
def deployed(monkeypatch):
    """The function, with a Ray that hands back the options and the class of a deployment."""

    def module(name, **parts):
        made = ModuleType(name)
        vars(made).update(parts)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def deployment(**options):
        return lambda replica: SimpleNamespace(bind=lambda: (options, replica))

    serve = module("ray.serve", deployment=deployment, ingress=lambda application: lambda replica: replica)
    module("ray", serve=serve)
    module("ray.serve.config", BackpressureConfig=dict, RequestRouterConfig=dict)
    module("ray.serve.experimental")
    module("ray.serve.experimental.consistent_hash_router", ConsistentHashRouter=object)
    # Under a name of its own: others import the module with the real Ray.
    spec = importlib.util.spec_from_file_location("ray_of_the_tests", Path(settings.__file__).with_name("ray.py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made.deployed


def test_answers_under_way_have_the_time_of_any_answer_before_their_replica_ends(deployed):
    options, _ = deployed({"target": "demo"}, {"model_name": "demo", "timeout_seconds": 250})
    assert options["graceful_shutdown_timeout_s"] == 250


def test_a_replica_that_will_answer_nothing_again_is_not_healthy(deployed):
    _, made = deployed({"target": "demo"}, {"model_name": "demo"})
    owner, replica = Nobody(), made()
    owner.is_alive = True
    replica.app = create_app(owner, settings_from(model_name="demo"))
    replica.check_health()
    owner.is_alive = False
    with pytest.raises(RuntimeError, match="the thread that answers has ended"):
        replica.check_health()
