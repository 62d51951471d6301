# Starts the migration of the configuration, waits for its end and writes its report.
# Exit code: that of `evenkeel migrate wait` (0 done, 3 aborted or time over, 1 a mistake).
param([string]$Config = (Join-Path $PSScriptRoot 'phase7_automation.json'))

$ErrorActionPreference = 'Stop'
# The exit code is looked at here; a profile must not make an exception of it.
$PSNativeCommandUseErrorActionPreference = $false
$settings = Get-Content -Raw -Path $Config | ConvertFrom-Json
$folder = Split-Path -Parent (Resolve-Path $Config)
# A whole path stays as it is.
$plan = [IO.Path]::Combine($folder, $settings.plan)
$report = [IO.Path]::Combine($folder, $settings.report)
$evenkeel = $settings.evenkeel

$id = & $evenkeel migrate start $plan --admin $settings.admin
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Write-Output "migration $id"

& $evenkeel migrate wait $id --timeout $settings.wait --admin $settings.admin
$code = $LASTEXITCODE
& $evenkeel migrate report $id --admin $settings.admin | Set-Content -Path $report
exit $code
