{{/* What the chart's pods share. */}}

{{- define "callwright.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "callwright.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a tenant's Secret is in them: the argument is the namespace. */}}

{{- define "callwright.credentials" -}}
/etc/callwright-tenants/{{ . }}
{{- end -}}

{{/* The controller's pod, and the test's. */}}

{{- define "callwright.podSpec" -}}
serviceAccountName: {{ include "callwright.serviceAccountName" . | quote }}
enableServiceLinks: false
securityContext:
  {{- include "callwright.podSecurity" . | nindent 2 }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "callwright.fullname" . | quote }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- range $name, $tenant := .Values.tenants }}
  {{- if $tenant.existingSecret }}
  - name: {{ printf "tenant-%s" (sha256sum $name | trunc 12) | quote }}
    secret:
      secretName: {{ $tenant.existingSecret | quote }}
      optional: true # its namespace alone is held up without
  {{- end }}
  {{- end }}
  {{- if hasPrefix "file://" .Values.store.url }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ .Values.runs.claim | quote }}
  {{- end }}
{{- end -}}

{{- define "callwright.container" -}}
image: {{ include "callwright.image" (dict "root" . "room" "controller") | quote }}
imagePullPolicy: {{ .Values.images.pullPolicy | quote }}
securityContext:
  {{- include "callwright.containerSecurity" . | nindent 2 }}
{{- with .Values.store.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . | quote }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/callwright
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- range $name, $tenant := .Values.tenants }}
  {{- if $tenant.existingSecret }}
  - name: {{ printf "tenant-%s" (sha256sum $name | trunc 12) | quote }}
    mountPath: {{ include "callwright.credentials" $name | quote }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if hasPrefix "file://" .Values.store.url }}
  - name: data
    mountPath: /data
  {{- end }}
{{- end -}}
