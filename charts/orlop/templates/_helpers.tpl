{{/* The labels of every object. */}}
{{- define "orlop.labels" -}}
app.kubernetes.io/name: orlop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: orlop
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Those by which pods are chosen: (component). They never change: selectors cannot. */}}
{{- define "orlop.selector" -}}
app.kubernetes.io/name: orlop
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* An image: (list $ name). */}}
{{- define "orlop.image" -}}
{{- $root := index . 0 -}}
{{ printf "%s/%s:%s" (trimSuffix "/" $root.Values.registry) (index . 1) ($root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- end -}}

{{- define "orlop.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orlop.openshift" -}}
{{- $said := toString .Values.openshift -}}
{{- if or (eq $said "true") (and (eq $said "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) }}true{{ end -}}
{{- end -}}

{{- define "orlop.seLinuxType" -}}
{{- .Values.seLinux.type | default (ternary "spc_t" "" (eq (include "orlop.openshift" .) "true")) -}}
{{- end -}}

{{/* What Go should keep to, below the container's limit: (resources). Empty where the limit is not in Mi or Gi. */}}
{{- define "orlop.goMemLimit" -}}
{{- $limit := dig "limits" "memory" "" . | toString -}}
{{- if regexMatch "^[0-9]+Mi$" $limit -}}
{{ div (mul (trimSuffix "Mi" $limit | int64) 85) 100 }}MiB
{{- else if regexMatch "^[0-9]+Gi$" $limit -}}
{{ div (mul (trimSuffix "Gi" $limit | int64) 1024 85) 100 }}MiB
{{- end -}}
{{- end -}}

{{/*
The nodes that belong to none of these pools, as nodeSelectorTerms: (pools). A pool is all of its labels, so a node is
outside as soon as one differs; several pools multiply out.
*/}}
{{- define "orlop.outside" -}}
{{- $terms := list (list) -}}
{{- range $pool := . -}}
  {{- $next := list -}}
  {{- range $term := $terms -}}
    {{- range $key, $value := $pool.nodeSelector -}}
      {{- $next = append $next (append $term (dict "key" $key "operator" "NotIn" "values" (list $value))) -}}
    {{- end -}}
  {{- end -}}
  {{- $terms = $next -}}
{{- end -}}
nodeSelectorTerms:
{{- range $terms }}
- matchExpressions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An agent's DaemonSet: (dict root name pool others), where others are the pools that come before. */}}
{{- define "orlop.agent" -}}
{{- $root := .root -}}
{{- $agent := $root.Values.agent -}}
{{- $pool := .pool | default dict -}}
{{- $resources := $pool.resources | default $agent.resources -}}
{{- $folder := $agent.socketFolder -}}
{{- if $pool.socket }}{{ $folder = dir $pool.socket }}{{ end -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "orlop.labels" $root | nindent 4 }}
    app.kubernetes.io/component: agent
spec:
  selector:
    matchLabels:
      {{- include "orlop.selector" "agent" | nindent 6 }}
      orlop.dev/runtime: {{ $pool.name | default "default" }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ $agent.maxUnavailable }}
  template:
    metadata:
      labels:
        {{- include "orlop.labels" $root | nindent 8 }}
        app.kubernetes.io/component: agent
        # The controller watches no other pods than those with a role.
        orlop.dev/role: agent
        orlop.dev/runtime: {{ $pool.name | default "default" }}
      annotations:
        kubectl.kubernetes.io/default-container: agent
        {{- with $agent.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: orlop-agent
      automountServiceAccountToken: true
      enableServiceLinks: false
      priorityClassName: {{ $agent.priorityClassName }}
      # An agent lets go of what it holds within 5 s where that is asked for.
      terminationGracePeriodSeconds: 10
      {{- include "orlop.pullSecrets" $root | nindent 6 }}
      {{- with mergeOverwrite (dict) $agent.nodeSelector ($pool.nodeSelector | default dict) }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .others }}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            {{- include "orlop.outside" . | nindent 12 }}
      {{- end }}
      {{- with $pool.tolerations | default $agent.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        # The socket is root's.
        runAsUser: 0
        runAsGroup: 0
        seccompProfile:
          type: RuntimeDefault
        {{- with include "orlop.seLinuxType" $root }}
        seLinuxOptions:
          type: {{ . }}
        {{- end }}
      containers:
      - name: agent
        image: {{ include "orlop.image" (list $root "orlop-node") }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args:
        - agent
        - --max-parallel-pulls={{ $agent.maxParallelPulls }}
        - --pull-timeout={{ $agent.pullTimeout }}
        - --disk-limit={{ $agent.diskLimit }}
        - --pin-limit={{ $agent.pinLimit }}
        - --metrics-address=:9808
        {{- with $pool.socket }}
        - --runtime-endpoint=unix://{{ . }}
        {{- end }}
        env:
        - name: NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        {{- with include "orlop.goMemLimit" $resources }}
        - name: GOMEMLIMIT
          value: {{ . }}
        {{- end }}
        ports:
        - name: metrics
          containerPort: 9808
        startupProbe:
          httpGet: {path: /healthz, port: metrics}
          periodSeconds: 1
          failureThreshold: 60
        # An agent counts once it is ready: this is how soon that is seen.
        readinessProbe:
          httpGet: {path: /readyz, port: metrics}
          periodSeconds: 2
        livenessProbe:
          httpGet: {path: /healthz, port: metrics}
          periodSeconds: 20
          timeoutSeconds: 5
        resources:
          {{- toYaml $resources | nindent 10 }}
        securityContext:
          privileged: false
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: [ALL]
        volumeMounts:
        # The folder and not the socket: a runtime that is restarted makes a new one. Read-only keeps nobody from using the socket;
        # it keeps anything from being made on the node by mistake. What is unmounted there must go here too, or it is held.
        - name: sockets
          mountPath: {{ $folder }}
          readOnly: true
          mountPropagation: HostToContainer
      volumes:
      - name: sockets
        hostPath:
          path: {{ $folder }}
          type: Directory
{{- end -}}

{{/* The annotations of what exists only while the release is uninstalled. */}}
{{- define "orlop.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
helm.sh/hook-output-log-policy: hook-failed
{{- end -}}
