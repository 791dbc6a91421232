{{/* What users merge into pods, as a strategic merge patch does: mappings key by key, lists of things with a name of their
own thing by thing, all else replaced. */}}

{{/* A pod's template with the patches in it; as it was written without any. (dict "pod" text "patch" map "sidecar" map) */}}
{{- define "serving.patchedPod" -}}
{{- $pod := .pod | fromYaml -}}
{{- if and .sidecar $pod.spec.initContainers -}}
{{- $container := merge (dict "name" "sidecar") .sidecar -}}
{{- $pod = include "serving.merged" (dict "old" $pod "new" (dict "spec" (dict "initContainers" (list $container)))) | fromJson -}}
{{- end -}}
{{- if .patch -}}
{{- $pod = include "serving.merged" (dict "old" $pod "new" .patch) | fromJson -}}
{{- end -}}
{{- if or .patch (and .sidecar $pod.spec.initContainers) -}}
{{- toYaml $pod -}}
{{- else -}}
{{- .pod -}}
{{- end -}}
{{- end -}}

{{/* JSON of the mapping "old" with the mapping "new" in it. */}}
{{- define "serving.merged" -}}
{{- $names := dict "containers" "name" "initContainers" "name" "env" "name" "volumes" "name" "imagePullSecrets" "name" "resourceClaims" "name" "claims" "name" "volumeMounts" "mountPath" "volumeDevices" "devicePath" "ports" "containerPort" "hostAliases" "ip" "topologySpreadConstraints" "topologyKey" -}}
{{- $made := deepCopy .old -}}
{{- range $key, $new := .new -}}
{{- $old := get $.old $key -}}
{{- if and (kindIs "map" $new) (kindIs "map" $old) -}}
{{- $_ := set $made $key (include "serving.merged" (dict "old" $old "new" $new) | fromJson) -}}
{{- else if and (kindIs "slice" $new) (kindIs "slice" $old) (hasKey $names $key) -}}
{{- $_ := set $made $key (include "serving.mergedList" (dict "old" $old "new" $new "name" (get $names $key)) | fromJsonArray) -}}
{{- else -}}
{{- $_ := set $made $key $new -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* JSON of the list "old" with the list "new" in it, whose things are told apart by the key "name". */}}
{{- define "serving.mergedList" -}}
{{- $made := list -}}
{{- $rest := .new -}}
{{- range $old := .old -}}
{{- $one := $old -}}
{{- $others := list -}}
{{- range $new := $rest -}}
{{- if eq (toString (get $new $.name)) (toString (get $old $.name)) -}}
{{- $one = include "serving.merged" (dict "old" $one "new" $new) | fromJson -}}
{{- else -}}
{{- $others = append $others $new -}}
{{- end -}}
{{- end -}}
{{- $made = append $made $one -}}
{{- $rest = $others -}}
{{- end -}}
{{- concat $made $rest | toJson -}}
{{- end -}}
