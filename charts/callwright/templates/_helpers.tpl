{{/* Names and labels; every helper bears the chart's name, for charts share one space of templates. */}}

{{- define "callwright.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "callwright.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "callwright.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "callwright.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A StatefulSet's name becomes part of a label, with eleven characters more. */}}
{{- define "callwright.storeName" -}}
{{- printf "%s-store" (include "callwright.fullname" . | trunc 46 | trimSuffix "-") -}}
{{- end -}}

{{- define "callwright.selectorLabels" -}}
{{ include "callwright.componentSelector" (dict "root" . "component" "controller") }}
{{- end -}}

{{- define "callwright.labels" -}}
{{ include "callwright.componentLabels" (dict "root" . "component" "controller") }}
{{- end -}}

{{/* The same of another component: (dict "root" $ "component" "object-store") */}}
{{- define "callwright.componentSelector" -}}
app.kubernetes.io/name: {{ include "callwright.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "callwright.componentLabels" -}}
{{- $component := . -}}
{{- with .root -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: callwright
{{ include "callwright.componentSelector" $component }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "callwright.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "callwright.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create=false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The namespaces to watch as JSON; empty is every one. */}}
{{- define "callwright.namespaces" -}}
{{- if .Values.controller.clusterWide -}}
[]
{{- else -}}
{{- toJson (default (list .Release.Namespace) .Values.controller.namespaces) -}}
{{- end -}}
{{- end -}}

{{/* An image's reference: (dict "root" $ "room" "trainer") */}}
{{- define "callwright.image" -}}
{{- $images := .root.Values.images -}}
{{- $image := index $images .room -}}
{{- $name := ternary (printf "%s/%s" (trimSuffix "/" $images.registry) $image.repository) $image.repository (ne $images.registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $images.tag) -}}
{{- end -}}
{{- end -}}

{{- define "callwright.validate" -}}
{{- range $key, $value := .Values -}}
{{- if regexMatch "[\\x7f-\\x{9f}\\x{fffe}\\x{ffff}]|\\\\u202[89]" (toJson $value) -}}
{{- fail (printf "%s holds a sign that no YAML may (U+007F to U+009F, U+2028, U+2029, U+FFFE, U+FFFF); take it out" $key) -}}
{{- end -}}
{{- end -}}
{{- $name := include "callwright.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the Service would be named %s; expected one that starts with a letter and has only lower-case letters, digits and -: set fullnameOverride" $name) -}}
{{- end -}}
{{- if not .Values.store.url -}}
{{- fail "store.url is needed: an object store such as s3://bucket/prefix" -}}
{{- end -}}
{{- if hasPrefix "file://" .Values.store.url -}}
{{- if not .Values.runs.claim -}}
{{- fail (printf "store.url %s needs runs.claim: pods share no file system without a claim" .Values.store.url) -}}
{{- end -}}
{{- if not (hasPrefix "file:///data/" .Values.store.url) -}}
{{- fail (printf "store.url %s is not on the claim, which is mounted at /data; expected file:///data/…" .Values.store.url) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.controller.clusterWide .Values.controller.namespaces -}}
{{- fail "controller.clusterWide and controller.namespaces exclude each other; keep one" -}}
{{- end -}}
{{- if .Values.objectStore.enabled -}}
{{- if not (hasPrefix "s3://" .Values.store.url) -}}
{{- fail (printf "objectStore.enabled with store.url %s: expected s3://BUCKET" .Values.store.url) -}}
{{- end -}}
{{- if not .Values.store.existingSecret -}}
{{- fail "objectStore.enabled needs store.existingSecret: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL" -}}
{{- end -}}
{{- end -}}
{{- end -}}
