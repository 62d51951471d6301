# Starts the migration of the configuration, waits for its end and writes its report.
# Exit code: that of `evenkeel migrate wait` (0 done, 3 aborted or time over, 1 a mistake).
param([string]$Config = (Join-Path $PSScriptRoot 'phase7_automation.json'))

$ErrorActionPreference = 'Stop'
$settings = Get-Content -Raw -Path $Config | ConvertFrom-Json
$folder = Split-Path -Parent (Resolve-Path $Config)
$plan = Join-Path $folder $settings.plan
$report = Join-Path $folder $settings.report
$evenkeel = $settings.evenkeel

$id = & $evenkeel migrate start $plan --admin $settings.admin
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Write-Output "migration $id"

& $evenkeel migrate wait $id --timeout $settings.wait --admin $settings.admin
$code = $LASTEXITCODE
& $evenkeel migrate report $id --admin $settings.admin | Set-Content -Path $report
exit $code
