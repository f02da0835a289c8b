{{/* certctl-test for a release of that name; RELEASE-certctl where the release's name does not say it. */}}
{{- define "certctl.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "certctl.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "certctl.labels" -}}
{{ include "certctl.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "certctl.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "certctl.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secrets, given or made here. */}}
{{- define "certctl.apiKeySecret" -}}
{{- default (printf "%s-api-key" (include "certctl.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}
{{- define "certctl.databaseSecret" -}}
{{- default (printf "%s-database" (include "certctl.fullname" .)) .Values.database.existingSecret -}}
{{- end -}}
{{- define "certctl.secretKeySecret" -}}
{{- default (printf "%s-secret-key" (include "certctl.fullname" .)) .Values.secretKey.existingSecret -}}
{{- end -}}

{{/* "true" on PostgreSQL. */}}
{{- define "certctl.onPostgres" -}}
{{- if or .Values.database.url .Values.database.existingSecret .Values.postgresql.enabled -}}true{{- end -}}
{{- end -}}

{{/* "true" where nothing that must last is in the state directory: it is then the pod's, and there may be many. */}}
{{- define "certctl.shared" -}}
{{- if and (include "certctl.onPostgres" .) .Values.ca.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* What was made at the first installation and is in the cluster; empty where there is none. */}}
{{- define "certctl.kept" -}}
{{- $secret := lookup "v1" "Secret" .namespace .name -}}
{{- if $secret -}}{{- index (default dict $secret.data) .key | default "" | b64dec -}}{{- end -}}
{{- end -}}

{{/* The file of settings, in the syntax of systemd's EnvironmentFile. */}}
{{- define "certctl.settings" -}}
{{- $full := include "certctl.fullname" . -}}
{{- $service := printf "%s.%s" $full .Release.Namespace -}}
{{- $names := list $full $service (printf "%s.svc" $service) (printf "%s.svc.%s" $service .Values.clusterDomain) -}}
{{- $settings := dict
      "CERTCTL_SERVER_HOST" "0.0.0.0"
      "CERTCTL_SERVER_PORT" "8443"
      "CERTCTL_STATE_DIR" "/var/lib/certctl"
      "CERTCTL_SERVER_TLS_NAMES" (join "," (concat $names .Values.tls.names | uniq))
      "CERTCTL_ACME_SERVER_ENABLED" (toString .Values.acmeServer.enabled)
      "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID" .Values.acmeServer.defaultProfileId
      "CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE" .Values.acmeServer.defaultAuthMode -}}
{{- if .Values.ca.existingSecret -}}
{{- $_ := set $settings "CERTCTL_CA_CERT_PATH" "/etc/certctl/ca/tls.crt" -}}
{{- $_ := set $settings "CERTCTL_CA_KEY_PATH" "/etc/certctl/ca/tls.key" -}}
{{- end -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $settings "CERTCTL_SERVER_TLS_CERT_PATH" "/etc/certctl/tls/tls.crt" -}}
{{- $_ := set $settings "CERTCTL_SERVER_TLS_KEY_PATH" "/etc/certctl/tls/tls.key" -}}
{{- end -}}
{{- if .Values.pki.http.enabled -}}
{{- $_ := set $settings "CERTCTL_PKI_HTTP_HOST" "0.0.0.0" -}}
{{- $_ := set $settings "CERTCTL_PKI_HTTP_PORT" "8080" -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- $text := kindIs "slice" $value | ternary (join "," $value) (kindIs "float64" $value | ternary (printf "%v" (int64 $value)) (toString $value)) -}}
{{- $_ := set $settings $name $text -}}
{{- end -}}
{{- range $name := keys $settings | sortAlpha }}
{{ $name }}="{{ get $settings $name | replace "\\" "\\\\" | replace "\"" "\\\"" | replace "`" "\\`" | replace "$" "\\$" }}"
{{- end }}
{{- end -}}

{{/* What cannot be is said before anything is made. */}}
{{- define "certctl.check" -}}
{{- if and (gt (int .Values.replicaCount) 1) (not (include "certctl.onPostgres" .)) -}}
{{- fail "replicaCount above 1 needs PostgreSQL: set database.url, database.existingSecret or postgresql.enabled" -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.ca.existingSecret) -}}
{{- fail "replicaCount above 1 needs a CA that all servers share: set ca.existingSecret" -}}
{{- end -}}
{{- if gt (len (compact (list .Values.database.url .Values.database.existingSecret (ternary "trial" "" .Values.postgresql.enabled)))) 1 -}}
{{- fail "there is one database: set database.url, database.existingSecret or postgresql.enabled" -}}
{{- end -}}
{{- if and .Values.auth.apiKey .Values.auth.existingSecret -}}
{{- fail "set auth.apiKey or auth.existingSecret, not both" -}}
{{- end -}}
{{- end -}}
