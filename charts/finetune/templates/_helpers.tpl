{{/* Names and labels; every helper bears the chart's name, for charts share one space of templates. */}}

{{- define "finetune.name" -}}
{{- default .Release.Name .Values.name -}}
{{- end -}}

{{- define "finetune.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: callwright
{{- end -}}

{{/* Any value as JSON of signs that YAML may hold: toYaml gives nothing at all for a text with others. */}}
{{- define "finetune.json" -}}
{{- $text := toPrettyJson . -}}
{{- range concat (untilStep 127 160 1) (list 65534 65535) -}}
{{- $text = replace (printf "%c" .) (printf "\\u%04x" .) $text -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- define "finetune.validate" -}}
{{- $name := include "finetune.name" . -}}
{{- if or (gt (len $name) 52) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "the FineTune would be named %s; expected up to 52 lower-case letters, digits and -: set name" $name) -}}
{{- end -}}
{{- with .Values.dataset -}}
{{- if gt (len (compact (list (ternary "files" "" (not (empty .files))) .configMap .claim))) 1 -}}
{{- fail "dataset.files, dataset.configMap and dataset.claim exclude each other; keep one" -}}
{{- end -}}
{{- end -}}
{{- range dig "cluster" "mounts" list .Values.spec -}}
{{- if and (hasPrefix "/dataset/" (printf "%s/" .path)) (or $.Values.dataset.files $.Values.dataset.configMap $.Values.dataset.claim) -}}
{{- fail (printf "spec.cluster.mounts has %s, where the dataset is mounted; choose another path" .path) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.existingSecret (dig "cluster" "secret" "" .Values.spec) -}}
{{- fail "existingSecret and spec.cluster.secret say the same; keep one" -}}
{{- end -}}
{{- if and .Values.serviceAccount (dig "cluster" "serviceAccount" "" .Values.spec) -}}
{{- fail "serviceAccount and spec.cluster.serviceAccount say the same; keep one" -}}
{{- end -}}
{{- if not (dig "base" "model" "" .Values.spec) -}}
{{- fail "spec.base.model is needed: the model to start from" -}}
{{- end -}}
{{- if not (dig "data" "sources" list .Values.spec) -}}
{{- fail "spec.data.sources is needed: the conversations to train on" -}}
{{- end -}}
{{- range (dig "data" "sources" list .Values.spec) -}}
{{- if and (hasPrefix "/dataset/" .path) $.Values.dataset.files -}}
{{- if not (hasKey $.Values.dataset.files (trimPrefix "/dataset/" .path)) -}}
{{- fail (printf "spec.data.sources names %s; dataset.files has %s" .path (keys $.Values.dataset.files | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
