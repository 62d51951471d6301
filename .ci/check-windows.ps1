# The release program on Windows: it serves from a console, and as what the system starts. Needs to be
# run by an administrator, in a checkout, after `cargo build --release`.
$ErrorActionPreference = 'Stop'
$built = Join-Path $PSScriptRoot '..\target\release\evenkeel.exe'
$folder = New-Item -ItemType Directory -Force (Join-Path ([IO.Path]::GetTempPath()) 'evenkeel-check')
$program = Join-Path $folder 'evenkeel.exe'
Copy-Item $built $program
@'
listeners: [{ name: web, bind: "127.0.0.1:18080" }]
pools: [{ name: default, backends: ["127.0.0.1:18081"] }]
shutdown: { drain_timeout: 5s }
'@ | Set-Content (Join-Path $folder 'evenkeel.yaml')

function Ask([string]$Url) {
    foreach ($try in 1..100) {
        try { return (Invoke-WebRequest -UseBasicParsing $Url).Content } catch { Start-Sleep -Milliseconds 100 }
    }
    throw "no answer from $Url"
}
function Must([int]$Code, [string]$What) {
    if ($LASTEXITCODE -ne $Code) { throw "${What}: exit code $LASTEXITCODE" }
}

& $program --version; Must 0 'version'
& $program check -c (Join-Path $folder 'evenkeel.yaml'); Must 0 'check'
$backend = Start-Process $program 'testserver --listen 127.0.0.1:18081 --name a' -PassThru
try {
    $console = Start-Process $program "run -c $(Join-Path $folder 'evenkeel.yaml')" -PassThru
    try { if ((Ask 'http://127.0.0.1:18080/') -notmatch 'a') { throw 'another answer' } }
    finally { Stop-Process $console }

    & $program service install; Must 0 'install'
    try {
        & $program service start; Must 0 'start'
        $null = Ask 'http://127.0.0.1:18080/'
        $null = Ask 'http://127.0.0.1:9900/readyz'
        & $program service stop; Must 0 'stop'
        if (-not (Select-String -Quiet '"event":"stopped"' (Join-Path $folder 'evenkeel.log'))) {
            throw 'the log beside the program does not tell of a drain'
        }
    }
    finally { & $program service uninstall }

    # Without words, as older instructions do it: New-Service -BinaryPathName ...\gobalance.exe
    $other = Join-Path $folder 'gobalance.exe'
    Copy-Item $built $other
    New-Service -Name gobalance -BinaryPathName $other -StartupType Manual | Out-Null
    try {
        Start-Service gobalance
        $null = Ask 'http://127.0.0.1:18080/'
        Stop-Service gobalance
    }
    finally { sc.exe delete gobalance }
}
finally { Stop-Process $backend }
Write-Output 'check-windows: holds'
