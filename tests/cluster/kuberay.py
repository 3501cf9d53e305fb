"""The fields of KubeRay's custom resources (ray.io/v1) that deploy/ uses; any other key is refused."""

# ruff: noqa: N815 (the names of Kubernetes)

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Label = Literal["gansweep"]
Quantity = Annotated[str, Field(pattern=r"^\d+(Mi|Gi)?$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Name(Strict):
    name: Label


class Labels(Strict):
    part_of: Label = Field(alias="app.kubernetes.io/part-of")


class PodMetadata(Strict):
    labels: Labels


class PodSecurity(Strict):
    runAsNonRoot: Literal[True]
    runAsUser: int
    fsGroup: int


class Port(Strict):
    containerPort: Literal[6379, 8265]
    name: Literal["gcs-server", "dashboard"]


class Amounts(Strict):
    cpu: Quantity
    memory: Quantity
    gpu: Quantity | None = Field(None, alias="nvidia.com/gpu")


class Resources(Strict):
    requests: Amounts
    limits: Amounts


class Mount(Strict):
    name: str
    mountPath: str


class Container(Strict):
    name: str
    image: str
    ports: list[Port] = []
    resources: Resources
    volumeMounts: list[Mount]


class Claim(Strict):
    claimName: Label


class EmptyDir(Strict):
    medium: Literal["Memory"]
    sizeLimit: Quantity


class Volume(Strict):
    name: str
    persistentVolumeClaim: Claim | None = None
    emptyDir: EmptyDir | None = None


class Toleration(Strict):
    key: Literal["nvidia.com/gpu"]
    operator: Literal["Exists"]
    effect: Literal["NoSchedule"]


class PodSpec(Strict):
    automountServiceAccountToken: bool | None = None
    securityContext: PodSecurity
    tolerations: list[Toleration] = []
    containers: list[Container] = Field(min_length=1, max_length=1)
    volumes: list[Volume]


class Pod(Strict):
    metadata: PodMetadata
    spec: PodSpec


class StartParams(Strict):
    cpus: Literal["0"] | None = Field(None, alias="num-cpus")
    dashboard: Literal["127.0.0.1", "0.0.0.0"] | None = Field(None, alias="dashboard-host")


class Head(Strict):
    serviceType: Literal["ClusterIP"]
    rayStartParams: StartParams
    template: Pod


class Workers(Strict):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: StartParams
    template: Pod


class Auth(Strict):
    mode: Literal["token"]


class Autoscaler(Strict):
    idleTimeoutSeconds: int


class ClusterSpec(Strict):
    rayVersion: str
    authOptions: Auth
    enableInTreeAutoscaling: Literal[True]
    autoscalerOptions: Autoscaler
    headGroupSpec: Head
    workerGroupSpecs: list[Workers] = Field(min_length=1)


class JobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["HTTPMode"]
    shutdownAfterJobFinishes: Literal[True]
    ttlSecondsAfterFinished: int
    rayClusterSpec: ClusterSpec


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Name
    spec: ClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Name
    spec: JobSpec
