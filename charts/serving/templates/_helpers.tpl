{{/* Names and labels; every helper bears the chart's name, for charts share one space of templates. */}}

{{- define "serving.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{/* The RayService's name: KubeRay takes DNS-1035 labels of up to 47 characters. */}}
{{- define "serving.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- else if contains (include "serving.name" .) .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "serving.name" .) | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "serving.selectorLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
callwright.io/serving: {{ include "serving.fullname" . | quote }}
{{- end -}}

{{- define "serving.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "serving.podLabels" . }}
{{- end -}}

{{/* Without versions: another label in a pod's template makes KubeRay start a second RayCluster. */}}
{{- define "serving.podLabels" -}}
app.kubernetes.io/name: {{ include "serving.name" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: callwright
{{ include "serving.selectorLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image's reference: (dict "root" $ "room" "server") */}}
{{- define "serving.image" -}}
{{- $images := .root.Values.images -}}
{{- $image := index $images .room -}}
{{- $name := ternary (printf "%s/%s" (trimSuffix "/" $images.registry) $image.repository) $image.repository (ne $images.registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $images.tag) -}}
{{- end -}}
{{- end -}}

{{- define "serving.gpus" -}}
{{- if eq .Values.serve.device "gpu" -}}
{{- int (default 1 .Values.model.engine.tensorParallelSize) -}}
{{- else -}}
0
{{- end -}}
{{- end -}}

{{/* Workers beyond the replicas, for a new version's first ones. */}}
{{- define "serving.maxWorkers" -}}
{{- $max := int .Values.serve.maxReplicas -}}
{{- add $max (div (add (mul $max (int .Values.serve.surgePercent)) 99) 100) -}}
{{- end -}}

{{/* The version: pinned, else what runs, else the promoted one. With gitOps the controller sees to what runs. */}}
{{- define "serving.version" -}}
{{- if .Values.model.version -}}
{{- .Values.model.version -}}
{{- else -}}
{{- $found := "promoted" -}}
{{- $running := ternary dict (lookup "ray.io/v1" "RayService" .Release.Namespace (include "serving.fullname" .)) .Values.gitOps -}}
{{- $config := dig "spec" "serveConfigV2" "" $running | fromYaml -}}
{{- range (dig "applications" list $config) -}}
{{- if not (dig "args" "canaryWeight" 0 .) -}}
{{- range (dig "args" "models" list .) -}}
{{- if eq (get . "name") $.Values.model.name -}}
{{- $found = get . "version" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}
{{- end -}}

{{- define "serving.validate" -}}
{{- range $key, $value := .Values -}}
{{- if regexMatch "[\\x7f-\\x{9f}\\x{fffe}\\x{ffff}]|\\\\u202[89]" (toJson $value) -}}
{{- fail (printf "%s holds a sign that no YAML may (U+007F to U+009F, U+2028, U+2029, U+FFFE, U+FFFF); take it out" $key) -}}
{{- end -}}
{{- end -}}
{{- $name := include "serving.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the RayService would be named %s; expected one that starts with a letter and has only lower-case letters, digits and -: set fullnameOverride" $name) -}}
{{- end -}}
{{- if not .Values.model.name -}}
{{- fail "model.name is needed: the name under which FineTunes publish the model" -}}
{{- end -}}
{{- if not .Values.store.url -}}
{{- fail "store.url is needed: the object store that holds the model, such as s3://bucket/prefix" -}}
{{- end -}}
{{- if hasPrefix "file://" .Values.store.url -}}
{{- if or (not .Values.store.claim) (not (hasPrefix "file:///data/" .Values.store.url)) -}}
{{- fail (printf "store.url %s: expected file:///data/… together with store.claim, which is mounted at /data" .Values.store.url) -}}
{{- end -}}
{{- end -}}
{{- with .Values.serve -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "serve.minReplicas %d is above serve.maxReplicas %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.workers.cache.claim .Values.workers.cache.hostPath -}}
{{- fail "workers.cache has a claim and a hostPath; expected one of them, or neither" -}}
{{- end -}}
{{- with .Values.ray -}}
{{- if and (get .gcsFaultTolerance "externalStorageNamespace") (ne .upgradeStrategy "None") -}}
{{- fail (printf "ray.gcsFaultTolerance.externalStorageNamespace with ray.upgradeStrategy %s: the next RayCluster would take the state of the one that serves; leave it out, or set the strategy to None" .upgradeStrategy) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.service.nodePort (eq .Values.service.type "ClusterIP") -}}
{{- fail (printf "service.nodePort %d with service.type ClusterIP; expected NodePort or LoadBalancer" (int .Values.service.nodePort)) -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host is needed with ingress.enabled" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is needed with httpRoute.enabled" -}}
{{- end -}}
{{- end -}}
