{{- define "keepscope.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "keepscope.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "keepscope.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "keepscope.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "keepscope.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keepscope.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keepscope.labels" -}}
{{ include "keepscope.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "keepscope.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* level: the Pod Security level, privileged or baseline */ -}}
{{- define "keepscope.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
privileged: false
capabilities:
{{- if eq . "baseline" }}
  {{- /* What container runtimes give by default, less NET_RAW. */}}
  drop: [AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT]
{{- else }}
  drop: [ALL]
  add: [NET_RAW]
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- /* root: the chart's context; own: .Values.sidecar or .Values.daemonset */ -}}
{{- define "keepscope.env" -}}
- name: KEEPSCOPE_LISTEN
  value: {{ .own.listen | default (printf ":%v" .root.Values.port) | quote }}
- name: KEEPSCOPE_HEALTH_LISTEN
  value: {{ printf ":%v" .root.Values.healthPort | quote }}
- name: KEEPSCOPE_INTERFACE
  value: {{ .root.Values.interface | quote }}
- name: KEEPSCOPE_LOG_FORMAT
  value: json
- name: KEEPSCOPE_MAX_CONNECTIONS
  value: {{ .own.maxConnections | int64 | quote }}
- name: KEEPSCOPE_MAX_MEMORY
  value: {{ .own.maxMemory }}
- name: KEEPSCOPE_BUFFER_SIZE
  value: {{ .own.bufferSize }}
{{- with .root.Values.filter }}
- name: KEEPSCOPE_FILTER
  value: {{ . | quote }}
{{- end }}
- name: KEEPSCOPE_MEMORY_LIMIT
  valueFrom:
    resourceFieldRef:
      containerName: keepscope
      resource: limits.memory
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)
{{- range $name, $value := .root.Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "keepscope.sidecar" -}}
- name: keepscope
  image: {{ include "keepscope.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args: [run]
  env:
    - name: KEEPSCOPE_SERVER_NAME
      {{- if .Values.sidecar.serverName }}
      value: {{ .Values.sidecar.serverName | quote }}
      {{- else }}
      valueFrom:
        fieldRef:
          fieldPath: metadata.labels['app.kubernetes.io/name']
      {{- end }}
    - name: KEEPSCOPE_WAIT_FOR_INTERFACE
      value: "true"
    {{- if not .Values.sidecar.native }}
    - name: KEEPSCOPE_LINGER
      value: {{ .Values.sidecar.linger }}
    {{- end }}
    {{- with .Values.sidecar.keylog }}
    {{- if .enabled }}
    {{- if hasKey $.Values.env "KEEPSCOPE_KEYLOG" }}
    {{- fail "env.KEEPSCOPE_KEYLOG: sidecar.keylog sets it" }}
    {{- end }}
    - name: KEEPSCOPE_KEYLOG
      value: {{ .mountPath | quote }}
    {{- end }}
    {{- end }}
    {{- include "keepscope.env" (dict "root" . "own" .Values.sidecar) | nindent 4 }}
  {{- with .Values.sidecar.keylog }}
  {{- if .enabled }}
  volumeMounts:
    - name: {{ .volume }}
      mountPath: {{ .mountPath | quote }}
      readOnly: true
  {{- end }}
  {{- end }}
  ports:
    - name: keepscope
      containerPort: {{ .Values.port }}
      protocol: TCP
    - name: health
      containerPort: {{ .Values.healthPort }}
      protocol: TCP
  livenessProbe:
    httpGet:
      path: /healthz
      port: health
    periodSeconds: 20
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    {{- $securityContext := include "keepscope.securityContext" .Values.podSecurity }}
    {{- if .Values.sidecar.keylog.enabled }}
    {{- /* The pod's user holds, which is the app's. */}}
    {{- omit (fromYaml $securityContext) "runAsUser" "runAsGroup" | toYaml | nindent 4 }}
    {{- else }}
    {{- $securityContext | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* The volume of key logs, for the pod's spec. */ -}}
{{- define "keepscope.keylogVolume" -}}
- name: {{ .Values.sidecar.keylog.volume }}
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.sidecar.keylog.sizeLimit }}
{{- end }}
