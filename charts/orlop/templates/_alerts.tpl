{{/*
The alert rules: what a Prometheus reads as a file, and what a PrometheusRule has as spec. Every alert is a heading of docs/alerts.md.
Values of labels are Prometheus' own templates, in backquotes here.
*/}}
{{- define "orlop.alerts" -}}
{{- $alerts := .Values.alerts -}}
{{- $t := $alerts.thresholds -}}
{{- $near := sub $t.imageFSHighPercent $t.imageFSMarginPercent -}}
groups:
- name: orlop-nodes
  rules:
  - alert: OrlopAgentDown
    expr: max(orlop_agents{state="unready"}) > 0
    for: {{ $t.agentDownFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `{{ $value }} Orlop agents are not ready` | quote }}
      description: >-
        {{ `{{ $value }}` }} agents have not been ready for {{ $t.agentDownFor }}. Their nodes pull and remove nothing for Orlop; existing pins stay.
        kubectl orlop status names them.
  - alert: OrlopRuntimeFailing
    # A Prometheus that takes native histograms has no series named _count.
    expr: |-
      (
        sum by (node) (rate(orlop_cri_requests_duration_seconds_count{method!~".*PullImage",code!~"OK|NotFound|Canceled|[23]..|404"}[15m]))
        / sum by (node) (rate(orlop_cri_requests_duration_seconds_count[15m]))
        or
        sum by (node) (histogram_count(rate(orlop_cri_requests_duration_seconds{method!~".*PullImage",code!~"OK|NotFound|Canceled|[23]..|404"}[15m])))
        / sum by (node) (histogram_count(rate(orlop_cri_requests_duration_seconds[15m])))
      ) > {{ divf $t.runtimeErrorsPercent 100 }}
    for: {{ $t.runtimeFailingFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `The container runtime on {{ $labels.node }} is failing` | quote }}
      description: >-
        {{ `{{ $value | humanizePercentage }} of the agent's calls to the container runtime on {{ $labels.node }} fail.` }}
  - alert: OrlopNodeImageFSNearGC
    expr: |-
      100 * orlop_node_imagefs_used_bytes / orlop_node_imagefs_capacity_bytes > {{ $near }}
      and 100 * orlop_node_reclaimable_bytes / orlop_node_imagefs_capacity_bytes > {{ $t.reclaimablePercent }}
    for: {{ $t.imageFSFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `The image disk of {{ $labels.node }} is nearly full` | quote }}
      description: >-
        {{ `{{ $value | printf "%.0f" }} % of the image disk on {{ $labels.node }} is used` }}, and from {{ $t.imageFSHighPercent }} % on the kubelet removes images
        of its own choice. Images that nothing needs take more than {{ $t.reclaimablePercent }} % of the disk.
- name: orlop-images
  rules:
  - alert: OrlopImagePullFailing
    expr: sum by (node, registry, reason) (increase(orlop_image_pulls_total{result="failed"}[30m])) > 0
    for: {{ $t.pullFailingFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `Pulls from {{ $labels.registry }} fail on {{ $labels.node }}` | quote }}
      description: >-
        {{ `Pulls from {{ $labels.registry }} have been failing on {{ $labels.node }}` }} for {{ $t.pullFailingFor }}{{ `: {{ $labels.reason }}.` }}
  - alert: OrlopRegistryRefusing
    expr: |-
      sum by (registry, result) (increase(orlop_registry_checks_total{result!="OK"}[30m])) > 0
      unless on (registry) sum by (registry) (increase(orlop_registry_checks_total{result="OK"}[30m])) > 0
    for: {{ $t.registryRefusingFor }}
    labels: {severity: info}
    annotations:
      summary: {{ `The registry {{ $labels.registry }} refuses the controller` | quote }}
      description: >-
        {{ `{{ $labels.registry }} does not answer the controller: {{ $labels.result }}. Its tags are not resolved centrally; a node is asked instead.` }}
  - alert: OrlopTagDriftOld
    expr: max by (ref) (max_over_time(orlop_tag_drift_nodes[15m])) > 0
    for: {{ $t.tagDriftFor }}
    labels: {severity: info}
    annotations:
      summary: {{ `{{ $labels.ref }} is not the same image on every node` | quote }}
      description: >-
        {{ `For` }} {{ $t.tagDriftFor }} {{ `{{ $labels.ref }} has meant another image on {{ $value }} nodes than in the registry.` }}
  - alert: OrlopCacheNotReady
    expr: sum by (namespace, name) (orlop_cache_nodes{state=~"failed|pulling"}) > 0
    for: {{ $t.cacheNotReadyFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `ImageCache {{ $labels.namespace }}/{{ $labels.name }} is not complete` | quote }}
      description: >-
        {{ `{{ $value }} nodes have lacked images of ImageCache {{ $labels.namespace }}/{{ $labels.name }}` }} for {{ $t.cacheNotReadyFor }}.
- name: orlop-work
  rules:
  - alert: OrlopNodeJobFailed
    expr: max by (namespace, name) (orlop_nodejob_nodes{state="failed"}) > 0
    for: {{ $t.nodeJobFailedFor }}
    labels: {severity: warning}
    annotations:
      summary: {{ `NodeJob {{ $labels.namespace }}/{{ $labels.name }} failed on {{ $value }} nodes` | quote }}
      description: >-
        {{ `kubectl orlop job list {{ $labels.name }} -n {{ $labels.namespace }} --details says why, for each node.` }}
  - alert: OrlopCleanupNotRunning
    expr: |-
      time() - max by (namespace, name) (orlop_cronjob_next_run_timestamp_seconds) > {{ $t.cleanupLateSeconds }}
      or max by (namespace, name) (orlop_cronjob_last_run_timestamp_seconds - orlop_cronjob_last_success_timestamp_seconds)
      > 2 * max by (namespace, name) (orlop_cronjob_next_run_timestamp_seconds - orlop_cronjob_last_run_timestamp_seconds)
    labels: {severity: warning}
    annotations:
      summary: {{ `NodeCronJob {{ $labels.namespace }}/{{ $labels.name }} is not running as it should` | quote }}
      description: >-
        {{ `NodeCronJob {{ $labels.namespace }}/{{ $labels.name }} is {{ $value | humanizeDuration }} behind: it did not run when it was due, or its last runs did not succeed.` }}
  - alert: OrlopControllerDown
    expr: absent(orlop_agents{state="ready"})
    for: {{ $t.controllerDownFor }}
    labels: {severity: warning}
    annotations:
      summary: No Orlop controller is running
      description: >-
        For {{ $t.controllerDownFor }} no leading controller was seen. Nodes hold what they have; nothing new is asked of them, and nothing is removed.
{{- end -}}

{{/* Those rules that are not left out, with what is the same for all. */}}
{{- define "orlop.alertGroups" -}}
{{- $alerts := .Values.alerts -}}
{{- $groups := list -}}
{{- range $group := (include "orlop.alerts" . | fromYaml).groups -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- if not (has $rule.alert $alerts.leaveOut) -}}
      {{- $annotations := merge (dict "runbook_url" (printf "%s#%s" $alerts.runbookURL (lower $rule.alert))) $rule.annotations -}}
      {{- $labels := merge (dict) $alerts.ruleLabels $rule.labels -}}
      {{- $rules = append $rules (merge (dict "annotations" $annotations "labels" $labels) $rule) -}}
    {{- end -}}
  {{- end -}}
  {{- if $rules -}}
    {{- $groups = append $groups (dict "name" $group.name "rules" $rules) -}}
  {{- end -}}
{{- end -}}
{{ dict "groups" $groups | toYaml }}
{{- end -}}
