{{- define "pennyweight.labels" -}}
app.kubernetes.io/name: pennyweight
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "pennyweight.selector" -}}
app.kubernetes.io/name: pennyweight
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end }}

{{- define "pennyweight.account" -}}
{{ default .Release.Name .Values.serviceAccount.name }}
{{- end }}

{{- /* "yes" where the fleet has this block under `serve`: only then there is a port for it. */}}
{{- define "pennyweight.serves" -}}
{{- if hasKey (default dict .root.Values.fleet.serve) .block }}yes{{ end }}
{{- end }}
