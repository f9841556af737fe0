"""The classes of ``elasticslice.managers.core`` under one name, for what was written against it."""

from agent.core.abstract import ElasticSliceManager
from agent.core.endpoint import ElasticSliceClientEndpoint, SimpleElasticSliceClientEndpoint
from agent.core.helper import ElasticSliceHelper, PluginElasticSliceHelper, SimpleElasticSliceHelper
from agent.core.manager import SimpleElasticSliceManager

__all__ = [
    "ElasticSliceClientEndpoint",
    "ElasticSliceHelper",
    "ElasticSliceManager",
    "PluginElasticSliceHelper",
    "SimpleElasticSliceClientEndpoint",
    "SimpleElasticSliceHelper",
    "SimpleElasticSliceManager",
]
