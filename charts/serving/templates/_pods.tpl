{{/* The pods' templates. */}}

{{/* How long a pod may take to end: what preStop waits for, and a minute for Serve, Ray and the sidecar to stop in. */}}
{{- define "serving.graceSeconds" -}}
{{- add .serve.drainSeconds (default 0 .replacement) 60 -}}
{{- end -}}

{{- define "serving.headPod" -}}
{{- $zero := eq (int .Values.serve.minReplicas) 0 -}}
metadata:
  labels:
    {{- include "serving.podLabels" . | nindent 4 }}
    {{- if $zero }}
    callwright.io/sidecar: "true"
    {{- end }}
  {{- with .Values.head.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "serving.placement" (dict "root" . "pods" .Values.head) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- include "serving.podSecurity" . | nindent 4 }}
  {{- include "serving.pullSecrets" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "serving.graceSeconds" (dict "serve" .Values.serve) }}
  {{- if $zero }}
  initContainers:
    # Without workers the head takes requests, which Serve holds until a worker is there.
    {{- include "serving.sidecar" (dict "root" . "ready" "/healthz") | nindent 4 }}
  {{- end }}
  containers:
    - name: ray-head
      {{- include "serving.ray" . | nindent 6 }}
      ports:
        - name: gcs
          containerPort: 6379
        - name: dashboard
          containerPort: 8265
        - name: client
          containerPort: 10001
        - name: serve
          containerPort: 8000
        - name: metrics
          containerPort: 8080
        - name: haproxy
          containerPort: 9101
        - name: autoscaler
          containerPort: 44217
      lifecycle:
        preStop:
          # Whoever is deleted with the head goes before it.
          exec:
            command:
              - python
              - -m
              - callwright.server.draining
              - head
              - {{ printf "--drain-seconds=%s" (toJson .Values.serve.drainSeconds) | quote }}
              {{- if $zero }}
              - --metrics=http://127.0.0.1:8100/metrics
              {{- end }}
      resources:
        {{- toYaml .Values.head.resources | nindent 8 }}
  volumes:
    {{- include "serving.volumes" . | nindent 4 }}
    - name: api-access
      projected:
        sources:
          - serviceAccountToken:
              path: token
              expirationSeconds: 3607
          - configMap:
              name: kube-root-ca.crt
              items: [{key: ca.crt, path: ca.crt}]
          - downwardAPI:
              items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end -}}

{{- define "serving.workerPod" -}}
{{- $gpus := int (include "serving.gpus" .) -}}
{{- $zero := eq (int .Values.serve.minReplicas) 0 -}}
metadata:
  labels:
    {{- include "serving.podLabels" . | nindent 4 }}
    callwright.io/sidecar: "true"
  {{- with .Values.workers.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "serving.placement" (dict "root" . "pods" .Values.workers) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "serving.graceSeconds" (dict "serve" .Values.serve "replacement" .Values.serve.replacementSeconds) }}
  securityContext:
    {{- include "serving.podSecurity" . | nindent 4 }}
  {{- include "serving.pullSecrets" . | nindent 2 }}
  initContainers:
    {{- include "serving.sidecar" (dict "root" . "ready" ($zero | ternary "/healthz" "/readyz")) | nindent 4 }}
  containers:
    - name: ray-worker
      {{- include "serving.ray" . | nindent 6 }}
        - name: cache
          mountPath: /cache
        - name: shm
          mountPath: /dev/shm
      ports:
        - name: serve
          containerPort: 8000
        - name: metrics
          containerPort: 8080
        - name: haproxy
          containerPort: 9101
      # KubeRay's own asks Serve's proxy, which says no as soon as its node drains, though it serves on; the sidecar's probe
      # asks the engine behind it. Where replicas may all go, to ask the engine is to want one: there the proxy is asked,
      # which is where a replica is.
      readinessProbe:
        httpGet: {{ $zero | ternary "{path: /-/healthz, port: 8000}" "{path: /healthz, port: 8100}" }}
        periodSeconds: 5
        timeoutSeconds: 5
      lifecycle:
        preStop:
          # The pod is no endpoint any more: the replica moves, and streams end, before Ray stops.
          exec:
            command:
              - python
              - -m
              - callwright.server.draining
              - worker
              - --metrics=http://127.0.0.1:8100/metrics
              - {{ printf "--drain-seconds=%s" (toJson .Values.serve.drainSeconds) | quote }}
              - {{ printf "--replacement-seconds=%s" (toJson .Values.serve.replacementSeconds) | quote }}
      resources:
        requests:
          cpu: {{ toJson .Values.workers.cpu }}
          memory: {{ toJson .Values.workers.memory }}
          {{- with .Values.workers.cache }}
          {{- if not (or .claim .hostPath) }}
          ephemeral-storage: {{ toJson .size }}
          {{- end }}
          {{- end }}
          {{- if $gpus }}
          {{ .Values.workers.gpuResource | quote }}: {{ $gpus }}
          {{- end }}
        limits:
          memory: {{ toJson .Values.workers.memory }}
          {{- if $gpus }}
          {{ .Values.workers.gpuResource | quote }}: {{ $gpus }}
          {{- end }}
  volumes:
    {{- include "serving.volumes" . | nindent 4 }}
    {{- include "serving.cache" . | nindent 4 }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ toJson .Values.workers.sharedMemory }}
  {{- with .Values.workers.spread }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: {{ . | quote }}
      labelSelector:
        matchLabels:
          {{- include "serving.selectorLabels" $ | nindent 10 }}
          ray.io/node-type: worker
  {{- end }}
{{- end -}}
