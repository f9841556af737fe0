"""The classes of ``elasticslice.managers.core`` under one name, for what was written against it."""

from agent.core.abstract import ElasticSliceManager
from agent.core.manager import SimpleElasticSliceManager
from agent.core.notices.calls import ElasticSliceClientEndpoint
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.request.helper import ElasticSliceHelper, PluginElasticSliceHelper, SimpleElasticSliceHelper

__all__ = [
    "ElasticSliceClientEndpoint",
    "ElasticSliceHelper",
    "ElasticSliceManager",
    "PluginElasticSliceHelper",
    "SimpleElasticSliceClientEndpoint",
    "SimpleElasticSliceHelper",
    "SimpleElasticSliceManager",
]
