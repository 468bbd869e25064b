// Code generated from model.yaml by internal/semconv/generate; DO NOT EDIT.

package semconv

// Version of the model.
const Version = 1

// Names of events: LogRecord.EventName.
const (
	// EventExec: A binary was started, or was already running when the receiver began (witness.process.preexisting).
	EventExec = "runtime.exec"
	// EventExit: A process ended.
	EventExit = "runtime.exit"
	// EventLoad: A file was mapped executable.
	EventLoad = "runtime.load"
	// EventCall: A function was entered. The first frame of witness.stack is the function; the others, where known, are its callers.
	EventCall = "runtime.call"
	// EventSample: A stack was taken.
	EventSample = "runtime.sample"
	// EventKernel: A kernel function, tracepoint or LSM hook was reached. The first frame of witness.stack is the hook; the others, where known, are its callers.
	EventKernel = "runtime.kernel"
	// EventConnect: A process opened an outbound connection. Addresses are never recorded.
	EventConnect = "runtime.connect"
	// EventContainment: What a process, or with no executable every process of a container, could reach if its code were abused: classes, never ids. What was not seen is absent or `unknown`.
	EventContainment = "runtime.containment"
	// EventLoss: Evidence was lost between two times. A gap in coverage for everything it can have hit: the workload, file or function that the resource and the first frame of witness.stack name, else all of the host.
	EventLoss = "runtime.loss"
	// EventStatus: What became of a hook or probe. The state holds until the next one of the same target; suspended is a gap of what the resource and the first frame of witness.stack name, else of all of the host. At its start a source tells the state of every hook.
	EventStatus = "runtime.status"
	// EventCoverage: The heartbeat of a receiver. It vouches for the time between witness.coverage.start and witness.coverage.end, for the file or function in the first frame of witness.stack if there is one, else for all of the host.
	EventCoverage = "runtime.coverage"
	// EventObservation: New hits of one witness from one source and instance in one window.
	EventObservation = "runtime.observation"
)

// Names of attributes.
const (
	// HostName: Name of the node.
	HostName = "host.name"
	// HostID: Machine id of the node.
	HostID = "host.id"
	// HostArch: Processor architecture.
	HostArch = "host.arch"
	// OSType: Operating system.
	OSType = "os.type"
	// K8SClusterName: Cluster.
	K8SClusterName = "k8s.cluster.name"
	// K8SNodeName: Node.
	K8SNodeName = "k8s.node.name"
	// K8SNamespaceName: Namespace. Part of the workload.
	K8SNamespaceName = "k8s.namespace.name"
	// K8SPodName: Pod.
	K8SPodName = "k8s.pod.name"
	// K8SPodUID: Pod uid.
	K8SPodUID = "k8s.pod.uid"
	// K8SContainerName: Container name in the pod. Part of the workload.
	K8SContainerName = "k8s.container.name"
	// K8SDeploymentName: Controller. Part of the workload.
	K8SDeploymentName = "k8s.deployment.name"
	// K8SReplicasetName: Controller. Part of the workload.
	K8SReplicasetName = "k8s.replicaset.name"
	// K8SStatefulsetName: Controller. Part of the workload.
	K8SStatefulsetName = "k8s.statefulset.name"
	// K8SDaemonsetName: Controller. Part of the workload.
	K8SDaemonsetName = "k8s.daemonset.name"
	// K8SJobName: Controller. Part of the workload.
	K8SJobName = "k8s.job.name"
	// K8SCronjobName: Controller. Part of the workload.
	K8SCronjobName = "k8s.cronjob.name"
	// ContainerID: Container id.
	ContainerID = "container.id"
	// ContainerName: Container name outside Kubernetes; unknown when only the id is known, since that is not the host.
	ContainerName = "container.name"
	// ContainerImageName: Image name.
	ContainerImageName = "container.image.name"
	// ContainerImageTags: Image tags.
	ContainerImageTags = "container.image.tags"
	// ContainerImageRepoDigests: Image digests. The digest of the first is part of the workload.
	ContainerImageRepoDigests = "container.image.repo_digests"
	// ServiceName: Service.
	ServiceName = "service.name"
	// ServiceNamespace: Service namespace.
	ServiceNamespace = "service.namespace"
	// ServiceVersion: Service version.
	ServiceVersion = "service.version"
	// DeploymentEnvironmentName: Environment.
	DeploymentEnvironmentName = "deployment.environment.name"
	// LogRecordUID: The identity of an event at its source (file and offset): a redelivered event has the same one.
	LogRecordUID = "log.record.uid"
	// ProcessPID: Process id on the host.
	ProcessPID = "process.pid"
	// ProcessParentPID: Parent process id.
	ProcessParentPID = "process.parent_pid"
	// ThreadID: Thread id.
	ThreadID = "thread.id"
	// ProcessCreationTime: Start of the process. With host and pid it identifies the process.
	ProcessCreationTime = "process.creation.time"
	// ProcessExitCode: Exit code. Absent when unknown.
	ProcessExitCode = "process.exit.code"
	// ProcessExecutablePath: Path of the binary in its own mount namespace.
	ProcessExecutablePath = "process.executable.path"
	// ProcessExecutableName: Last element of the path.
	ProcessExecutableName = "process.executable.name"
	// ProcessExecutableBuildIDGNU: GNU build-id of the binary.
	ProcessExecutableBuildIDGNU = "process.executable.build_id.gnu"
	// ProcessExecutableBuildIDGo: Go build id of the binary.
	ProcessExecutableBuildIDGo = "process.executable.build_id.go"
	// ProcessExecutableBuildIDHtlhash: Profiler hash of the binary.
	ProcessExecutableBuildIDHtlhash = "process.executable.build_id.htlhash"
	// ProcessUserID: User id. Leaves as witness.user.class.
	ProcessUserID = "process.user.id"
	// ProcessCommandArgs: Arguments.
	ProcessCommandArgs = "process.command_args"
	// ProcessCommandLine: Arguments in one text.
	ProcessCommandLine = "process.command_line"
	// ProcessWorkingDirectory: Working directory.
	ProcessWorkingDirectory = "process.working_directory"
	// CodeFunctionName: The function of runtime.call and runtime.kernel.
	CodeFunctionName = "code.function.name"
	// CodeFilePath: Source file.
	CodeFilePath = "code.file.path"
	// CodeLineNumber: Source line.
	CodeLineNumber = "code.line.number"
	// ArtifactPURL: Artifact that the executable is; on an observation, that the module of its first frame is.
	ArtifactPURL = "artifact.purl"
	// ArtifactHash: Digest of the artifact, sha256:<hex>.
	ArtifactHash = "artifact.hash"
	// VCSRefHeadRevision: Source revision the artifact was built from.
	VCSRefHeadRevision = "vcs.ref.head.revision"
	// VCSRepositoryURLFull: Source repository of the artifact.
	VCSRepositoryURLFull = "vcs.repository.url.full"
	// WitnessID: Witness id, 64 hex digits.
	WitnessID = "witness.id"
	// WitnessKind: How strong the evidence is.
	WitnessKind = "witness.kind"
	// WitnessHits: How often. 1 when absent.
	WitnessHits = "witness.hits"
	// WitnessHitsError: By how much witness.hits can be too high.
	WitnessHitsError = "witness.hits.error"
	// WitnessWindowStart: Start of the window.
	WitnessWindowStart = "witness.window.start"
	// WitnessWindowEnd: End of the window, not included.
	WitnessWindowEnd = "witness.window.end"
	// WitnessFlush: Which flush of this window from this source, from 0.
	WitnessFlush = "witness.flush"
	// WitnessFirstSeen: First hit.
	WitnessFirstSeen = "witness.first_seen"
	// WitnessLastSeen: Last hit.
	WitnessLastSeen = "witness.last_seen"
	// WitnessSource: <installation id>/<incarnation>/<component id>. On the scope of raw events, on the record of everything else.
	WitnessSource = "witness.source"
	// WitnessAssurance: Who says so.
	WitnessAssurance = "witness.assurance"
	// WitnessOrigin: Whose process it was.
	WitnessOrigin = "witness.origin"
	// WitnessCanon: Version of the rules that made the record canonical, canon/v1.
	WitnessCanon = "witness.canon"
	// WitnessStack: Frames, innermost first.
	WitnessStack = "witness.stack"
	// WitnessStackComplete: False when frames are missing.
	WitnessStackComplete = "witness.stack.complete"
	// WitnessComponentPURL: Component of the first frame.
	WitnessComponentPURL = "witness.component.purl"
	// WitnessArtifactIdentityMethod: How the artifact was identified.
	WitnessArtifactIdentityMethod = "witness.artifact.identity.method"
	// WitnessArtifactConflicts: Identities that disagree.
	WitnessArtifactConflicts = "witness.artifact.conflicts"
	// WitnessProbeID: The policy, probe or hook that made the event.
	WitnessProbeID = "witness.probe.id"
	// WitnessFindingIDs: Findings that a posted trace names outright.
	WitnessFindingIDs = "witness.finding.ids"
	// WitnessUserClass: User class.
	WitnessUserClass = "witness.user.class"
	// WitnessProcessPreexisting: The process was running before the receiver.
	WitnessProcessPreexisting = "witness.process.preexisting"
	// WitnessModuleDeleted: The file had no name any more.
	WitnessModuleDeleted = "witness.module.deleted"
	// WitnessLossCount: How many events were lost at least.
	WitnessLossCount = "witness.loss.count"
	// WitnessLossStage: Where.
	WitnessLossStage = "witness.loss.stage"
	// WitnessStatusTarget: The policy, hook or probe.
	WitnessStatusTarget = "witness.status.target"
	// WitnessStatusState: attached, refused, suspended, detached or unavailable. Anything else is read as unavailable.
	WitnessStatusState = "witness.status.state"
	// WitnessStatusReason: Why: not_found, inlined_everywhere, stripped, unsupported_arch, over_budget, single_step, throttled, or what the agent says.
	WitnessStatusReason = "witness.status.reason"
	// WitnessCoverageSignal: What watches: tetragon, ebpf.
	WitnessCoverageSignal = "witness.coverage.signal"
	// WitnessCoverageKinds: The kinds of evidence it can see.
	WitnessCoverageKinds = "witness.coverage.kinds"
	// WitnessCoverageStart: Start of the time spoken of.
	WitnessCoverageStart = "witness.coverage.start"
	// WitnessCoverageEnd: End of the time spoken of.
	WitnessCoverageEnd = "witness.coverage.end"
	// WitnessCoverageInterval: Seconds between heartbeats: three without one, and nobody watches.
	WitnessCoverageInterval = "witness.coverage.interval"
	// WitnessCoverageProcessesWatched: Processes watched.
	WitnessCoverageProcessesWatched = "witness.coverage.processes.watched"
	// WitnessCoverageProcessesSeen: Processes seen.
	WitnessCoverageProcessesSeen = "witness.coverage.processes.seen"
	// WitnessCoverageLost: Events lost in the interval: the sum of this source's runtime.loss, for people who read logs.
	WitnessCoverageLost = "witness.coverage.lost"
	// WitnessContainmentSource: Where the classes were read.
	WitnessContainmentSource = "witness.containment.source"
	// WitnessContainmentCapabilities: Effective capabilities. An empty list says that there are none.
	WitnessContainmentCapabilities = "witness.containment.capabilities"
	// WitnessContainmentUser: User class: root of the host, root within a user namespace, root of which that is not known, another user.
	WitnessContainmentUser = "witness.containment.user"
	// WitnessContainmentNamespacesHost: Namespaces shared with the host.
	WitnessContainmentNamespacesHost = "witness.containment.namespaces.host"
	// WitnessContainmentNamespacesIsolated: Namespaces that are not those of the host.
	WitnessContainmentNamespacesIsolated = "witness.containment.namespaces.isolated"
	// WitnessContainmentPrivileged: Whether the container is privileged.
	WitnessContainmentPrivileged = "witness.containment.privileged"
	// WitnessContainmentSeccomp: Mode of seccomp.
	WitnessContainmentSeccomp = "witness.containment.seccomp"
	// WitnessContainmentNoNewPrivs: Whether an exec can raise privileges no more.
	WitnessContainmentNoNewPrivs = "witness.containment.no_new_privs"
	// WitnessContainmentLSM: Whether a profile of a security module (AppArmor, SELinux) confines it.
	WitnessContainmentLSM = "witness.containment.lsm"
	// WitnessContainmentRootFS: Root file system.
	WitnessContainmentRootFS = "witness.containment.root_fs"
	// WitnessContainmentSensitiveMounts: What is mounted that leads out: the socket of a container runtime, a service account token, the host's root or another of its directories, a device. An empty list says that there is nothing of the kind.
	WitnessContainmentSensitiveMounts = "witness.containment.sensitive_mounts"
	// WitnessContainmentNetworkPolicy: Whether a network policy selects it.
	WitnessContainmentNetworkPolicy = "witness.containment.network_policy"
	// WitnessContainmentPrivileges: Whether the exec raised privileges, by set-user-id, set-group-id or file capabilities.
	WitnessContainmentPrivileges = "witness.containment.privileges"
	// WitnessContainmentBinary: Whether the file that was executed has a name: an unlinked one was deleted or lived in memory only.
	WitnessContainmentBinary = "witness.containment.binary"
	// WitnessContainmentEntry: How the process got into its container: by its init process, from outside, or perhaps as a probe of Kubernetes.
	WitnessContainmentEntry = "witness.containment.entry"
	// TetragonEvent: Tetragon's name of the event, as process_kprobe.
	TetragonEvent = "tetragon.event"
	// TetragonExecID: Tetragon's process identity. It holds the node name.
	TetragonExecID = "tetragon.exec_id"
	// TetragonParentExecID: Identity of the parent.
	TetragonParentExecID = "tetragon.parent_exec_id"
	// TetragonFlags: Process flags.
	TetragonFlags = "tetragon.flags"
	// TetragonPolicy: Tracing policy.
	TetragonPolicy = "tetragon.policy"
	// TetragonMessage: The policy's message.
	TetragonMessage = "tetragon.message"
	// TetragonTags: The policy's tags.
	TetragonTags = "tetragon.tags"
	// TetragonAction: Action taken.
	TetragonAction = "tetragon.action"
	// TetragonHook: Kind of hook.
	TetragonHook = "tetragon.hook"
	// TetragonTracepoint: Subsystem and event of a tracepoint, provider and name of a USDT probe.
	TetragonTracepoint = "tetragon.tracepoint"
	// TetragonArgs: Hook arguments, as index:type=value. Only with include_arguments.
	TetragonArgs = "tetragon.args"
	// TetragonThrottle: start or stop.
	TetragonThrottle = "tetragon.throttle"
	// TetragonRaw: The event as Tetragon wrote it. Only with include_raw.
	TetragonRaw = "tetragon.raw"
	// TetragonInInitTree: The process descends from the container's init.
	TetragonInInitTree = "tetragon.in_init_tree"
	// ProcessSignal: Signal that ended the process.
	ProcessSignal = "process.signal"
)

// Keys of a frame in witness.stack.
const (
	// FramePackage: Import path, crate, namespace: what is left of the member.
	FramePackage = "package"
	// FrameMember: Function, or Type.Method.
	FrameMember = "member"
	// FrameSymbol: Canonical name; raw before canonicalization.
	FrameSymbol = "symbol"
	// FrameLanguage: go, rust, cxx, c, kernel, jvm, dotnet, python, js, swift, d.
	FrameLanguage = "language"
	// FrameFlags: What was folded away: closure, lambda, generic, thunk, proxy, async, compiler-clone, inlined and the like; minified, where the name says nothing.
	FrameFlags = "flags"
	// FrameModule: Path of the file; [kernel] for the kernel.
	FrameModule = "module"
	// FrameBuildID: GNU build-id of the file.
	FrameBuildID = "build_id"
	// FrameSHA256: sha256 of the file.
	FrameSHA256 = "sha256"
	// FrameOffset: Offset in the file; for the kernel, in the function.
	FrameOffset = "offset"
	// FrameFile: Source file.
	FrameFile = "file"
	// FrameLine: Source line.
	FrameLine = "line"
	// FrameInlined: Inlined into the frame before it in call order.
	FrameInlined = "inlined"
	// FrameComponent: purl of the component.
	FrameComponent = "component"
	// FrameSymbolSource: Who named it: probe, agent, symtab, pclntab, posted.
	FrameSymbolSource = "symbol_source"
	// FrameConfidence: 0..1: how sure the name is.
	FrameConfidence = "confidence"
)

var events = map[string]Event{
	"runtime.exec":        {Name: "runtime.exec", Required: []string{"process.pid", "process.executable.path", "witness.stack"}},
	"runtime.exit":        {Name: "runtime.exit", Required: []string{"process.pid"}},
	"runtime.load":        {Name: "runtime.load", Required: []string{"process.pid", "witness.stack"}},
	"runtime.call":        {Name: "runtime.call", Required: []string{"witness.stack"}},
	"runtime.sample":      {Name: "runtime.sample", Required: []string{"witness.stack"}},
	"runtime.kernel":      {Name: "runtime.kernel", Required: []string{"witness.stack"}},
	"runtime.connect":     {Name: "runtime.connect", Required: []string{"process.pid"}},
	"runtime.containment": {Name: "runtime.containment", Required: []string{"witness.containment.source"}},
	"runtime.loss":        {Name: "runtime.loss", Required: []string{"witness.source", "witness.loss.stage", "witness.loss.count", "witness.coverage.start", "witness.coverage.end"}},
	"runtime.status":      {Name: "runtime.status", Required: []string{"witness.source", "witness.status.target", "witness.status.state"}},
	"runtime.coverage":    {Name: "runtime.coverage", Required: []string{"witness.source", "witness.coverage.signal", "witness.coverage.kinds", "witness.coverage.start", "witness.coverage.end"}},
	"runtime.observation": {Name: "runtime.observation", Required: []string{"witness.id", "witness.kind", "witness.hits", "witness.window.start", "witness.window.end", "witness.flush", "witness.first_seen", "witness.last_seen", "witness.source", "witness.assurance", "witness.origin", "witness.stack"}},
}

var attributes = map[string]Attribute{
	"host.name":                               {Name: "host.name", Type: "string", Privacy: "identity", OnResource: true},
	"host.id":                                 {Name: "host.id", Type: "string", Privacy: "identity", OnResource: true},
	"host.arch":                               {Name: "host.arch", Type: "string", Privacy: "keep", OnResource: true},
	"os.type":                                 {Name: "os.type", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.cluster.name":                        {Name: "k8s.cluster.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.node.name":                           {Name: "k8s.node.name", Type: "string", Privacy: "identity", OnResource: true},
	"k8s.namespace.name":                      {Name: "k8s.namespace.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.pod.name":                            {Name: "k8s.pod.name", Type: "string", Privacy: "identity", OnResource: true},
	"k8s.pod.uid":                             {Name: "k8s.pod.uid", Type: "string", Privacy: "identity", OnResource: true},
	"k8s.container.name":                      {Name: "k8s.container.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.deployment.name":                     {Name: "k8s.deployment.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.replicaset.name":                     {Name: "k8s.replicaset.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.statefulset.name":                    {Name: "k8s.statefulset.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.daemonset.name":                      {Name: "k8s.daemonset.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.job.name":                            {Name: "k8s.job.name", Type: "string", Privacy: "keep", OnResource: true},
	"k8s.cronjob.name":                        {Name: "k8s.cronjob.name", Type: "string", Privacy: "keep", OnResource: true},
	"container.id":                            {Name: "container.id", Type: "string", Privacy: "identity", OnResource: true},
	"container.name":                          {Name: "container.name", Type: "string", Privacy: "keep", OnResource: true},
	"container.image.name":                    {Name: "container.image.name", Type: "string", Privacy: "keep", OnResource: true},
	"container.image.tags":                    {Name: "container.image.tags", Type: "string[]", Privacy: "keep", OnResource: true},
	"container.image.repo_digests":            {Name: "container.image.repo_digests", Type: "string[]", Privacy: "evidence", OnResource: true},
	"service.name":                            {Name: "service.name", Type: "string", Privacy: "keep", OnResource: true},
	"service.namespace":                       {Name: "service.namespace", Type: "string", Privacy: "keep", OnResource: true},
	"service.version":                         {Name: "service.version", Type: "string", Privacy: "keep", OnResource: true},
	"deployment.environment.name":             {Name: "deployment.environment.name", Type: "string", Privacy: "keep", OnResource: true},
	"log.record.uid":                          {Name: "log.record.uid", Type: "string", Privacy: "evidence", OnRecord: true},
	"process.pid":                             {Name: "process.pid", Type: "int", Privacy: "keep", OnRecord: true},
	"process.parent_pid":                      {Name: "process.parent_pid", Type: "int", Privacy: "keep", OnRecord: true},
	"thread.id":                               {Name: "thread.id", Type: "int", Privacy: "keep", OnRecord: true},
	"process.creation.time":                   {Name: "process.creation.time", Type: "time", Privacy: "keep", OnRecord: true},
	"process.exit.code":                       {Name: "process.exit.code", Type: "int", Privacy: "keep", OnRecord: true},
	"process.executable.path":                 {Name: "process.executable.path", Type: "string", Privacy: "path", OnRecord: true},
	"process.executable.name":                 {Name: "process.executable.name", Type: "string", Privacy: "path", OnRecord: true},
	"process.executable.build_id.gnu":         {Name: "process.executable.build_id.gnu", Type: "string", Privacy: "evidence", OnRecord: true},
	"process.executable.build_id.go":          {Name: "process.executable.build_id.go", Type: "string", Privacy: "evidence", OnRecord: true},
	"process.executable.build_id.htlhash":     {Name: "process.executable.build_id.htlhash", Type: "string", Privacy: "evidence", OnRecord: true},
	"process.user.id":                         {Name: "process.user.id", Type: "int", Privacy: "user", OnRecord: true},
	"process.command_args":                    {Name: "process.command_args", Type: "string[]", Privacy: "argument", OnRecord: true},
	"process.command_line":                    {Name: "process.command_line", Type: "string", Privacy: "argument", OnRecord: true},
	"process.working_directory":               {Name: "process.working_directory", Type: "string", Privacy: "argument", OnRecord: true},
	"code.function.name":                      {Name: "code.function.name", Type: "string", Privacy: "symbol", OnRecord: true},
	"code.file.path":                          {Name: "code.file.path", Type: "string", Privacy: "path", OnRecord: true},
	"code.line.number":                        {Name: "code.line.number", Type: "int", Privacy: "keep", OnRecord: true},
	"artifact.purl":                           {Name: "artifact.purl", Type: "string", Privacy: "evidence", OnRecord: true},
	"artifact.hash":                           {Name: "artifact.hash", Type: "string", Privacy: "evidence", OnRecord: true},
	"vcs.ref.head.revision":                   {Name: "vcs.ref.head.revision", Type: "string", Privacy: "evidence", OnRecord: true},
	"vcs.repository.url.full":                 {Name: "vcs.repository.url.full", Type: "string", Privacy: "text", OnRecord: true},
	"witness.id":                              {Name: "witness.id", Type: "string", Privacy: "evidence", OnRecord: true},
	"witness.kind":                            {Name: "witness.kind", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"exec", "load", "sample", "call"}},
	"witness.hits":                            {Name: "witness.hits", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.hits.error":                      {Name: "witness.hits.error", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.window.start":                    {Name: "witness.window.start", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.window.end":                      {Name: "witness.window.end", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.flush":                           {Name: "witness.flush", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.first_seen":                      {Name: "witness.first_seen", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.last_seen":                       {Name: "witness.last_seen", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.source":                          {Name: "witness.source", Type: "string", Privacy: "keep", OnScope: true, OnRecord: true},
	"witness.assurance":                       {Name: "witness.assurance", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"measured", "asserted"}},
	"witness.origin":                          {Name: "witness.origin", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"workload", "injected", "self", "unknown"}},
	"witness.canon":                           {Name: "witness.canon", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.stack":                           {Name: "witness.stack", Type: "map[]", Privacy: "stack", OnRecord: true},
	"witness.stack.complete":                  {Name: "witness.stack.complete", Type: "bool", Privacy: "keep", OnRecord: true},
	"witness.component.purl":                  {Name: "witness.component.purl", Type: "string", Privacy: "evidence", OnRecord: true},
	"witness.artifact.identity.method":        {Name: "witness.artifact.identity.method", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"signed-sbom", "provenance", "buildinfo", "cargo-auditable", "note-package", "package-db-checksum", "sbom", "package-db", "path", "asserted"}},
	"witness.artifact.conflicts":              {Name: "witness.artifact.conflicts", Type: "string[]", Privacy: "keep", OnRecord: true},
	"witness.probe.id":                        {Name: "witness.probe.id", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.finding.ids":                     {Name: "witness.finding.ids", Type: "string[]", Privacy: "keep", OnRecord: true},
	"witness.user.class":                      {Name: "witness.user.class", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"root", "nonroot", "unknown"}},
	"witness.process.preexisting":             {Name: "witness.process.preexisting", Type: "bool", Privacy: "keep", OnRecord: true},
	"witness.module.deleted":                  {Name: "witness.module.deleted", Type: "bool", Privacy: "keep", OnRecord: true},
	"witness.loss.count":                      {Name: "witness.loss.count", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.loss.stage":                      {Name: "witness.loss.stage", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.status.target":                   {Name: "witness.status.target", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.status.state":                    {Name: "witness.status.state", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.status.reason":                   {Name: "witness.status.reason", Type: "string", Privacy: "text", OnRecord: true},
	"witness.coverage.signal":                 {Name: "witness.coverage.signal", Type: "string", Privacy: "keep", OnRecord: true},
	"witness.coverage.kinds":                  {Name: "witness.coverage.kinds", Type: "string[]", Privacy: "keep", OnRecord: true},
	"witness.coverage.start":                  {Name: "witness.coverage.start", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.coverage.end":                    {Name: "witness.coverage.end", Type: "time", Privacy: "keep", OnRecord: true},
	"witness.coverage.interval":               {Name: "witness.coverage.interval", Type: "double", Privacy: "keep", OnRecord: true},
	"witness.coverage.processes.watched":      {Name: "witness.coverage.processes.watched", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.coverage.processes.seen":         {Name: "witness.coverage.processes.seen", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.coverage.lost":                   {Name: "witness.coverage.lost", Type: "int", Privacy: "keep", OnRecord: true},
	"witness.containment.source":              {Name: "witness.containment.source", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"tetragon", "proc", "k8s", "asserted"}},
	"witness.containment.capabilities":        {Name: "witness.containment.capabilities", Type: "string[]", Privacy: "keep", OnRecord: true, Values: []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"}},
	"witness.containment.user":                {Name: "witness.containment.user", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"root-host", "root-userns", "root", "nonroot", "unknown"}},
	"witness.containment.namespaces.host":     {Name: "witness.containment.namespaces.host", Type: "string[]", Privacy: "keep", OnRecord: true, Values: []string{"mnt", "pid", "net", "user", "ipc", "uts", "cgroup"}},
	"witness.containment.namespaces.isolated": {Name: "witness.containment.namespaces.isolated", Type: "string[]", Privacy: "keep", OnRecord: true, Values: []string{"mnt", "pid", "net", "user", "ipc", "uts", "cgroup"}},
	"witness.containment.privileged":          {Name: "witness.containment.privileged", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"yes", "no", "unknown"}},
	"witness.containment.seccomp":             {Name: "witness.containment.seccomp", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"disabled", "filter", "strict", "unknown"}},
	"witness.containment.no_new_privs":        {Name: "witness.containment.no_new_privs", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"yes", "no", "unknown"}},
	"witness.containment.lsm":                 {Name: "witness.containment.lsm", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"confined", "unconfined", "unknown"}},
	"witness.containment.root_fs":             {Name: "witness.containment.root_fs", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"read_only", "writable", "unknown"}},
	"witness.containment.sensitive_mounts":    {Name: "witness.containment.sensitive_mounts", Type: "string[]", Privacy: "keep", OnRecord: true, Values: []string{"runtime_socket", "service_account_token", "host_root", "host_path", "device"}},
	"witness.containment.network_policy":      {Name: "witness.containment.network_policy", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"present", "absent", "unknown"}},
	"witness.containment.privileges":          {Name: "witness.containment.privileges", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"raised", "unchanged", "unknown"}},
	"witness.containment.binary":              {Name: "witness.containment.binary", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"named", "unlinked", "unknown"}},
	"witness.containment.entry":               {Name: "witness.containment.entry", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"init_tree", "injected", "probe", "unknown"}},
	"tetragon.event":                          {Name: "tetragon.event", Type: "string", Privacy: "keep", OnRecord: true},
	"tetragon.exec_id":                        {Name: "tetragon.exec_id", Type: "string", Privacy: "identity", OnRecord: true},
	"tetragon.parent_exec_id":                 {Name: "tetragon.parent_exec_id", Type: "string", Privacy: "identity", OnRecord: true},
	"tetragon.flags":                          {Name: "tetragon.flags", Type: "string[]", Privacy: "keep", OnRecord: true},
	"tetragon.policy":                         {Name: "tetragon.policy", Type: "string", Privacy: "keep", OnRecord: true},
	"tetragon.message":                        {Name: "tetragon.message", Type: "string", Privacy: "text", OnRecord: true},
	"tetragon.tags":                           {Name: "tetragon.tags", Type: "string[]", Privacy: "keep", OnRecord: true},
	"tetragon.action":                         {Name: "tetragon.action", Type: "string", Privacy: "keep", OnRecord: true},
	"tetragon.hook":                           {Name: "tetragon.hook", Type: "string", Privacy: "keep", OnRecord: true, Values: []string{"kprobe", "tracepoint", "uprobe", "usdt", "lsm", "loader"}},
	"tetragon.tracepoint":                     {Name: "tetragon.tracepoint", Type: "string", Privacy: "keep", OnRecord: true},
	"tetragon.args":                           {Name: "tetragon.args", Type: "string[]", Privacy: "hook_argument", OnRecord: true},
	"tetragon.throttle":                       {Name: "tetragon.throttle", Type: "string", Privacy: "keep", OnRecord: true},
	"tetragon.raw":                            {Name: "tetragon.raw", Type: "string", Privacy: "argument", OnRecord: true},
	"tetragon.in_init_tree":                   {Name: "tetragon.in_init_tree", Type: "bool", Privacy: "keep", OnRecord: true},
	"process.signal":                          {Name: "process.signal", Type: "string", Privacy: "keep", OnRecord: true},
}

var frames = map[string]Attribute{
	"package":       {Name: "package", Type: "string", Privacy: "symbol"},
	"member":        {Name: "member", Type: "string", Privacy: "symbol"},
	"symbol":        {Name: "symbol", Type: "string", Privacy: "symbol"},
	"language":      {Name: "language", Type: "string", Privacy: "keep"},
	"flags":         {Name: "flags", Type: "string[]", Privacy: "keep"},
	"module":        {Name: "module", Type: "string", Privacy: "path"},
	"build_id":      {Name: "build_id", Type: "string", Privacy: "evidence"},
	"sha256":        {Name: "sha256", Type: "string", Privacy: "evidence"},
	"offset":        {Name: "offset", Type: "hex", Privacy: "offset"},
	"file":          {Name: "file", Type: "string", Privacy: "path"},
	"line":          {Name: "line", Type: "int", Privacy: "keep"},
	"inlined":       {Name: "inlined", Type: "bool", Privacy: "keep"},
	"component":     {Name: "component", Type: "string", Privacy: "evidence"},
	"symbol_source": {Name: "symbol_source", Type: "string", Privacy: "keep"},
	"confidence":    {Name: "confidence", Type: "double", Privacy: "keep"},
}
