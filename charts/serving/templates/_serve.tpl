{{/* What Ray Serve is to run: the RayService's serveConfigV2. */}}
{{- define "serving.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0  # a node's proxy speaks to the replicas of all nodes; the NetworkPolicy keeps clients out
  port: 8000
applications:
  - name: {{ .Values.model.name | quote }}
    route_prefix: /
    import_path: callwright.server.app:build
    deployments:
      - name: engine
        max_surge_percent: {{ toJson .Values.serve.surgePercent }}
    args:
      store: {{ .Values.store.url | quote }}
      cacheDir: /cache
      cacheBytes: {{ mulf (include "serving.bytes" .Values.workers.cache.size | float64) 0.95 | int64 | toString | quote }}
      device: {{ .Values.serve.device | quote }}
      cpus: {{ toJson .Values.workers.cpu }}
      kvCacheBytes: {{ toJson .Values.serve.kvCacheBytes }}
      minReplicas: {{ toJson .Values.serve.minReplicas }}
      maxReplicas: {{ toJson .Values.serve.maxReplicas }}
      targetOngoingRequests: {{ toJson .Values.serve.targetOngoingRequests }}
      {{- with .Values.serve.targetFirstTokenSeconds }}
      targetFirstTokenSeconds: {{ toJson . }}
      {{- end }}
      scaleUpSeconds: {{ toJson .Values.serve.scaleUpSeconds }}
      scaleDownSeconds: {{ toJson .Values.serve.scaleDownSeconds }}
      {{- with .Values.serve.autoscaling }}
      autoscaling:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      maxOngoingRequests: {{ toJson .Values.serve.maxOngoingRequests }}
      drainSeconds: {{ toJson .Values.serve.drainSeconds }}
      startAttempts: {{ toJson .Values.serve.startAttempts }}
      forcedCallSeconds: {{ toJson .Values.serve.forcedCallSeconds }}
      cacheLookSeconds: {{ toJson .Values.serve.cacheLookSeconds }}
      cacheVerifySeconds: {{ toJson .Values.serve.cacheVerifySeconds }}
      models:
        - id: {{ default .Values.model.name .Values.model.id | quote }}
          aliases:
            {{- toYaml .Values.model.aliases | nindent 12 }}
          name: {{ .Values.model.name | quote }}
          version: {{ include "serving.version" . | quote }}
          {{- with .Values.model.adapters }}
          adapters:
            {{- range . }}
            - id: {{ .id | quote }}
              path: {{ .path | quote }}
            {{- end }}
          {{- end }}
          engine:
            {{- toYaml .Values.model.engine | nindent 12 }}
{{- end -}}
