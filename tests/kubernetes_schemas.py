"""The kinds of deploy/k8s that Kubernetes itself does not know, field by field.

From the references of KEDA 2.17 and of the Prometheus operator 0.85: only what we use, and nothing
else is allowed, so that a slip in a name is found.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(required: str, optional: str = "", **fields: Schema) -> Schema:
    """An object with these fields and no other; a field without a schema is text."""
    names = [*required.split(), *optional.split()]
    assert set(fields) <= set(names)
    return {
        "type": "object",
        "required": required.split(),
        "additionalProperties": False,
        "properties": {name: fields.get(name, _TEXT) for name in names},
    }


def _many(item: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": item}


def _kind(api_version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object("name", "namespace labels annotations", labels=_WORDS, annotations=_WORDS)
    whole = _object("apiVersion kind metadata spec", metadata=metadata, spec=spec)
    whole["properties"]["apiVersion"] = {"const": api_version}
    whole["properties"]["kind"] = {"const": kind}
    return whole


_TEXT: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w|y)$"}
_WORDS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_RABBITMQ = _object(
    "protocol mode queueName value",
    "activationValue vhostName excludeUnacknowledged",
    protocol={"enum": ["auto", "http", "amqp"]},
    mode={"enum": ["QueueLength", "MessageRate"]},
    # KEDA takes texts only, numbers too.
    value={"type": "string", "pattern": "^[0-9]+$"},
)
_RULE = _object(
    "expr", "alert record for keep_firing_for labels annotations",
    labels=_WORDS, annotations=_WORDS, keep_firing_for=_SECONDS, **{"for": _SECONDS},
)  # fmt: skip
_RULE["oneOf"] = [{"required": ["alert"]}, {"required": ["record"]}]

KINDS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _kind(
        "keda.sh/v1alpha1", "ScaledObject",
        _object(
            "scaleTargetRef triggers",
            "pollingInterval cooldownPeriod minReplicaCount maxReplicaCount",
            scaleTargetRef=_object("name", "apiVersion kind"),
            pollingInterval=_COUNT, cooldownPeriod=_COUNT,
            minReplicaCount=_COUNT, maxReplicaCount=_COUNT,
            triggers=_many(
                _object(
                    "type metadata authenticationRef", "name",
                    type={"const": "rabbitmq"}, metadata=_RABBITMQ,
                    authenticationRef=_object("name"),
                )
            ),
        ),
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _kind(
        "keda.sh/v1alpha1", "TriggerAuthentication",
        _object("secretTargetRef", secretTargetRef=_many(_object("parameter name key"))),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _kind(
        "monitoring.coreos.com/v1", "ServiceMonitor",
        _object(
            "selector endpoints",
            selector=_object("matchLabels", matchLabels=_WORDS),
            endpoints=_many(
                _object(
                    "port", "path interval scrapeTimeout relabelings",
                    interval=_SECONDS, scrapeTimeout=_SECONDS,
                    relabelings=_many(
                        _object("sourceLabels targetLabel", sourceLabels=_many(_TEXT))
                    ),
                )
            ),
        ),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _kind(
        "monitoring.coreos.com/v1", "PrometheusRule",
        _object(
            "groups",
            groups=_many(_object("name rules", "interval", interval=_SECONDS, rules=_many(_RULE))),
        ),
    ),
}  # fmt: skip
