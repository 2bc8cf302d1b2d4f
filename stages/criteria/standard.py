"""What SREs watch, and under which names it is usually counted: one row each for ``standard: NAME`` in a criterion.

A row is all that it takes to add one; ``stages.criteria.ready_made`` makes criteria of them. The names of metrics and
labels are those of

- Prometheus client libraries (``http_requests_total`` with ``code``) and go-grpc-prometheus;
- OpenTelemetry's semantic conventions for HTTP and RPC as its Prometheus compatibility specification spells them: unit
  appended, other characters than letters, digits and ``_`` replaced. RPC was renamed after version 1.37 of them;
- Istio's standard metrics, Linkerd's proxy metrics, ingress-nginx's monitoring page, Envoy's cluster statistics with
  its tag extraction, Traefik's service metrics;
- RabbitMQ's Prometheus plug-in, kbudde/rabbitmq_exporter (age), danielqsj/kafka_exporter, seglo/kafka-lag-exporter
  (age), danihodovic/celery-exporter, and SQS as CloudWatch exporters name it;
- kube-state-metrics, the kubelet's cAdvisor and node_exporter.

gRPC codes that are the server's fault are those that OpenTelemetry's gRPC conventions call errors of a server.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.criteria.arms import Arms


@dataclass(frozen=True, slots=True)
class Errors:
    """Counters of which some are bad: those whose *label* matches *values*, or those of *bad_metric*.

    *usual* are matchers that are added unless the selector has one of the same label.
    """

    words: str
    metric: str
    label: str = ""
    values: str = ""
    bad_metric: str = ""
    usual: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Slow:
    """A classic histogram of durations, of which *per_second* are a second."""

    words: str
    metric: str
    per_second: int = 1
    usual: Mapping[str, str] | None = None
    arms: Arms | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """A number. In *query*, ``$series`` is the metric with the selector, ``$matchers`` what stands in the selector.

    *target* and *alert* are what ``pass`` and ``fail`` are where the plan gives neither; without, it has to.
    """

    words: str
    query: str
    metric: str = ""
    target: str | None = None
    alert: str | None = None
    for_seconds: float = 120.0


Row = Errors | Slow | Level

_GRPC_NAMES = "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss"
_GRPC_WORDS = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
_GRPC_NUMBERS = "2|4|12|13|14|15"
_DESTINATION = {"reporter": "destination"}  # else every request is counted by both of its proxies
_INBOUND = {"direction": "inbound"}
_LIMITS = 'max by (namespace, pod, container) (kube_pod_container_resource_limits{resource="memory"})'
_OOM_KILLED = 'kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} == 1'
_DISKS = '{fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660",$matchers}'

STANDARDS: dict[str, Row] = {
    # --- HTTP and gRPC, as applications count them
    "http-errors": Errors("HTTP answers of 5xx", "http_requests_total", "code", "5.."),
    "http-latency": Slow("duration of HTTP requests", "http_request_duration_seconds"),
    "otel-http-errors": Errors(
        "HTTP answers of 5xx", "http_server_request_duration_seconds_count", "http_response_status_code", "5.."
    ),
    "otel-http-latency": Slow("duration of HTTP requests", "http_server_request_duration_seconds"),
    "grpc-errors": Errors(
        "gRPC calls that fail by the server's fault", "grpc_server_handled_total", "grpc_code", _GRPC_NAMES
    ),
    "grpc-latency": Slow("duration of gRPC calls", "grpc_server_handling_seconds"),
    "otel-grpc-errors": Errors(
        "gRPC calls that fail by the server's fault (conventions up to 1.37)",
        "rpc_server_duration_milliseconds_count",
        "rpc_grpc_status_code",
        _GRPC_NUMBERS,
    ),
    "otel-grpc-latency": Slow(
        "duration of gRPC calls (conventions up to 1.37)", "rpc_server_duration_milliseconds", 1000
    ),
    "otel-rpc-errors": Errors(
        "gRPC calls that fail by the server's fault",
        "rpc_server_call_duration_seconds_count",
        "rpc_response_status_code",
        _GRPC_WORDS,
    ),
    "otel-rpc-latency": Slow("duration of gRPC calls", "rpc_server_call_duration_seconds"),
    # --- uses of a flag, as `flags.exposure` counts them
    "flag-latency": Slow(
        "duration of the code behind a flag",
        "rollout_exposure_seconds",
        arms=Arms(canary='{arm="canary"}', control='{arm="control"}'),
    ),
    # --- meshes and proxies
    "istio-errors": Errors("HTTP answers of 5xx", "istio_requests_total", "response_code", "5..", usual=_DESTINATION),
    "istio-latency": Slow(
        "duration of HTTP and gRPC requests", "istio_request_duration_milliseconds", 1000, _DESTINATION
    ),
    "linkerd-errors": Errors(
        "responses that Linkerd calls failures", "response_total", "classification", "failure", usual=_INBOUND
    ),
    "linkerd-latency": Slow("time to the first byte", "response_latency_ms", 1000, _INBOUND),
    "nginx-errors": Errors(
        "answers of 5xx through ingress-nginx", "nginx_ingress_controller_requests", "status", "5.."
    ),
    "nginx-latency": Slow(
        "duration of requests through ingress-nginx", "nginx_ingress_controller_request_duration_seconds"
    ),
    "envoy-errors": Errors("upstream answers of 5xx", "envoy_cluster_upstream_rq_xx", "envoy_response_code_class", "5"),
    "envoy-latency": Slow("duration of upstream requests", "envoy_cluster_upstream_rq_time", 1000),
    "traefik-errors": Errors("answers of 5xx of a service", "traefik_service_requests_total", "code", "5.."),
    "traefik-latency": Slow("duration of a service's requests", "traefik_service_request_duration_seconds"),
    # --- queues
    "celery-errors": Errors("tasks that fail", "celery_task_started_total", bad_metric="celery_task_failed_total"),
    "celery-latency": Slow("how long tasks run", "celery_task_runtime"),
    "celery-queue-depth": Level("messages in the broker's queue", "sum($series)", "celery_queue_length"),
    "rabbitmq-queue-depth": Level("messages that are ready", "sum($series)", "rabbitmq_queue_messages_ready"),
    "rabbitmq-queue-age": Level(
        "age of the first message in seconds",
        "time() - min($series > 0) or 0 * sum($series)",
        "rabbitmq_queue_head_message_timestamp",
        target="< 60",
        alert="> 300",
    ),
    "sqs-queue-depth": Level(
        "messages that are visible", "sum($series)", "aws_sqs_approximate_number_of_messages_visible_average"
    ),
    "sqs-queue-age": Level(
        "age of the oldest message in seconds",
        "max($series)",
        "aws_sqs_approximate_age_of_oldest_message_maximum",
        target="< 60",
        alert="> 300",
    ),
    "kafka-lag": Level(
        "messages that a consumer group lags behind", "sum(clamp_min($series, 0))", "kafka_consumergroup_lag"
    ),
    "kafka-lag-age": Level(
        "seconds that a consumer group lags behind",
        "max($series)",
        "kafka_consumergroup_group_lag_seconds",
        target="< 60",
        alert="> 300",
    ),
    # --- Kubernetes and saturation
    "kubernetes-restarts": Level(
        "restarts of containers in 5 minutes",
        "sum(changes($series[5m]))",
        "kube_pod_container_status_restarts_total",
        target="== 0",
        alert=">= 3",
        for_seconds=30.0,
    ),
    "kubernetes-oom-kills": Level(
        "containers that ran out of memory in 5 minutes",
        f"sum(changes($series[5m]) and on (namespace, pod, container) ({_OOM_KILLED})) or 0 * sum($series)",
        "kube_pod_container_status_restarts_total",
        target="== 0",
        alert=">= 2",
        for_seconds=30.0,
    ),
    "kubernetes-crash-loops": Level(
        "containers that wait to be started again",
        'sum(kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff",$matchers})'
        " or 0 * sum(kube_pod_container_info{$matchers})",
        target="== 0",
        alert="> 0",
        for_seconds=60.0,
    ),
    "kubernetes-memory": Level(
        "share of its limit that a container's working set takes",
        'max(max by (namespace, pod, container) (container_memory_working_set_bytes{container!="",$matchers})'
        f" / on (namespace, pod, container) {_LIMITS})",
        target="< 90%",
        alert="> 95%",
        for_seconds=300.0,
    ),
    "kubernetes-cpu-throttling": Level(
        "share of its time slices in which a container is throttled",
        'sum(rate(container_cpu_cfs_throttled_periods_total{container!="",$matchers}[2m]))'
        ' / sum(rate(container_cpu_cfs_periods_total{container!="",$matchers}[2m]))',
        target="< 25%",
        alert="> 50%",
        for_seconds=300.0,
    ),
    "node-cpu": Level(
        "share of the processors' time that is used",
        '1 - avg(rate(node_cpu_seconds_total{mode="idle",$matchers}[2m]))',
        target="< 80%",
        alert="> 95%",
        for_seconds=300.0,
    ),
    "node-memory": Level(
        "share of a machine's memory that is used",
        "max(1 - node_memory_MemAvailable_bytes{$matchers} / node_memory_MemTotal_bytes{$matchers})",
        target="< 90%",
        alert="> 95%",
        for_seconds=300.0,
    ),
    "node-disk": Level(
        "share of a file system that is used",
        f"max(1 - node_filesystem_avail_bytes{_DISKS} / node_filesystem_size_bytes{_DISKS})",
        target="< 85%",
        alert="> 95%",
        for_seconds=300.0,
    ),
}
