{{/* What the chart's pods share. */}}

{{- define "callsmith.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "callsmith.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The controller's pod, and the test's. */}}

{{- define "callsmith.podSpec" -}}
serviceAccountName: {{ include "callsmith.serviceAccountName" . }}
enableServiceLinks: false
securityContext:
  {{- include "callsmith.podSecurity" . | nindent 2 }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "callsmith.fullname" . }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if hasPrefix "file://" .Values.store.url }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ .Values.runs.claim }}
  {{- end }}
{{- end -}}

{{- define "callsmith.container" -}}
image: {{ include "callsmith.image" (dict "root" . "room" "controller") | quote }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  {{- include "callsmith.containerSecurity" . | nindent 2 }}
{{- with .Values.store.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/callsmith
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- if hasPrefix "file://" .Values.store.url }}
  - name: data
    mountPath: /data
  {{- end }}
{{- end -}}
