{{/* What the pods of this service share. */}}

{{- define "serving.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "serving.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "serving.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where pods run, and as whom: (dict "root" $ "pods" .Values.workers) */}}
{{- define "serving.placement" -}}
{{- with include "serving.serviceAccount" .root }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .pods }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.pods $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Name of the pods' service account; Ray's and the namespace's own when empty. */}}
{{- define "serving.serviceAccount" -}}
{{- with .Values.serviceAccount -}}
{{- .name | default (ternary (include "serving.fullname" $) "" .create) -}}
{{- end -}}
{{- end -}}

{{/* A Ray container but for its name, ports, resources. */}}
{{- define "serving.ray" -}}
image: {{ include "serving.image" (dict "root" . "room" "server") | quote }}
imagePullPolicy: {{ .Values.images.pullPolicy | quote }}
securityContext:
  {{- include "serving.containerSecurity" . | nindent 2 }}
env:
  - name: HOME
    value: /scratch
  - name: CALLWRIGHT_STORE
    value: {{ .Values.store.url | quote }}
  - name: HF_HUB_OFFLINE
    value: "1"
  {{- .Files.Get "files/ray-serve-env.yaml" | trim | nindent 2 }}
  # The proxy of a node that drains stays as long as the node's replica may.
  - name: RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S
    value: {{ add .Values.serve.drainSeconds .Values.serve.replacementSeconds 1 | toString | quote }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.store.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . | quote }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: scratch
    mountPath: /scratch
  {{- if .Values.store.claim }}
  - name: data
    mountPath: /data
    readOnly: true
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "serving.volumes" -}}
- name: tmp
  emptyDir: {}
- name: scratch
  emptyDir: {}
{{- if .Values.store.claim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.store.claim | quote }}
    readOnly: true
{{- end }}
{{- with .Values.sidecar.apiKeys.existingSecret }}
- name: api-keys
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volume of fetched versions. */}}
{{- define "serving.cache" -}}
{{- with .Values.workers.cache -}}
- name: cache
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim | quote }}
  {{- else if .hostPath }}
  hostPath:
    path: {{ .hostPath | quote }}
    type: Directory
  {{- else }}
  emptyDir:
    sizeLimit: {{ toJson .size }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity, such as 1.5Gi. */}}
{{- define "serving.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 "m" 0.001 -}}
{{- $unit := regexFind "([KMGTPE]i|[kMGTPEm])$" (toString .) -}}
{{- mulf (trimSuffix $unit (toString .) | float64) (get $units $unit) | int64 -}}
{{- end -}}

{{/* The sidecar as a native sidecar container: it starts before Ray and stops after it. (dict "root" $ "ready" "/readyz") */}}
{{- define "serving.sidecar" -}}
{{- $root := .root -}}
{{- with $root.Values -}}
- name: sidecar
  image: {{ include "serving.image" (dict "root" $root "room" "sidecar") | quote }}
  imagePullPolicy: {{ .images.pullPolicy | quote }}
  restartPolicy: Always
  command:
    - python
    - -m
    - callwright.sidecar
    - --host=0.0.0.0
    - --port=8100
    - --upstream=http://127.0.0.1:8000
    - {{ printf "--store=%s" .store.url | quote }}
    - {{ printf "--drain-seconds=%s" (toJson .serve.drainSeconds) | quote }}
    - {{ printf "--forced-call-seconds=%s" (toJson .serve.forcedCallSeconds) | quote }}
    - "--canary-seconds=5"
    {{- if eq (int .serve.minReplicas) 0 }}
    - {{ printf "--first-token-seconds=%s" (toJson .serve.startSeconds) | quote }}  # a worker may have to start first
    - {{ printf "--silent-seconds=%d" (max 600 (int .serve.startSeconds)) | quote }}  # bounds both kinds of answers
    {{- end }}
    {{- $id := default .model.name .model.id }}
    {{- range prepend .model.aliases $id | uniq }}
    - {{ printf "--model=%s=%s" . $root.Values.model.name | quote }}
    {{- end }}
    {{- range .model.adapters }}
    - {{ printf "--dialect=%s=%s" .id .dialect | quote }}
    {{- end }}
    {{- if .sidecar.apiKeys.existingSecret }}
    - {{ printf "--api-keys-file=/etc/callwright/keys/%s" .sidecar.apiKeys.key | quote }}
    {{- end }}
    {{- range $flag, $value := .sidecar.flags }}
    - {{ printf "--%s=%s" $flag (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
    {{- end }}
    {{- with .sidecar.defaultMaxTokens }}
    - {{ printf "--default-max-tokens=%s" (toJson .) | quote }}
    {{- end }}
  {{- with .env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .store.existingSecret }}
  envFrom:
    - secretRef:
        name: {{ . | quote }}
  {{- end }}
  ports:
    - name: openai
      containerPort: 8100
  startupProbe:
    httpGet: {path: /healthz, port: openai}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: {{ $.ready }}, port: openai}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /healthz, port: openai}
    periodSeconds: 10
    timeoutSeconds: 5
  resources:
    {{- toYaml .sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "serving.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- if .store.claim }}
    - name: data
      mountPath: /data
      readOnly: true
    {{- end }}
    {{- if .sidecar.apiKeys.existingSecret }}
    - name: api-keys
      mountPath: /etc/callwright/keys
      readOnly: true
    {{- end }}
{{- end -}}
{{- end -}}
