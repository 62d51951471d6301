// Features in force, read from the configuration in force: each a name and how it is set.

const isOn = (text) => text !== undefined && text !== null && text !== '' && !/^0(s|ms)?$/.test(String(text));

function health(check) {
  if (!check || check.type === 'none') return null;
  const what = check.type === 'http' ? `${check.method} ${check.path}` : check.type.toUpperCase();
  return ['health checks', `${what} every ${check.interval}`];
}

function affinity(tie) {
  if (!tie || !tie.type || tie.type === 'none') return null;
  const how = tie.type === 'cookie' ? `cookie ${tie.cookie_name} for ${tie.ttl}` : 'client address';
  return ['sticky sessions', how];
}

/** Of a pool. */
export function poolFeatures(pool) {
  if (!pool) return [];
  const { circuit_breaker: breaker, retry, connections, timeouts, autoscale, discovery } = pool;
  const all = [
    health(pool.health),
    breaker && breaker.enabled && ['circuit breaker',
      `${breaker.failure_threshold} failures in a row or ${Math.round(breaker.failure_rate * 100)} % in ${breaker.window}, then ${breaker.reset_timeout}`],
    retry && retry.attempts > 1 && ['retry',
      `${retry.attempts} tries, budget ${Math.round(retry.budget * 100)} %`],
    affinity(pool.affinity),
    isOn(pool.slow_start) && ['slow start', pool.slow_start],
    pool.fail_open && ['fail open', 'if nobody is left, breakers are ignored'],
    connections && connections.max > 0 && ['connection limit',
      `${connections.max} a backend, queue of ${connections.queue.max} for ${connections.queue.timeout}`],
    timeouts && ['timeouts', `connect ${timeouts.connect}, response head ${timeouts.response_head}`],
    pool.protocol && pool.protocol !== 'http1' && ['protocol', pool.protocol],
    pool.proxy_protocol && pool.proxy_protocol !== 'off' && ['PROXY protocol', pool.proxy_protocol],
    pool.tls && (pool.tls.ca_file || pool.tls.server_name) && ['TLS to backends', pool.tls.server_name || 'own CA'],
    discovery && discovery.type && ['discovery', `${discovery.type} every ${discovery.interval}`],
    autoscale && autoscale.max > 0 && ['autoscaling', `${autoscale.min} to ${autoscale.max} backends`],
  ];
  return all.filter(Boolean);
}

/** Of a route. */
export function routeFeatures(route) {
  if (!route) return [];
  const { rate_limit: limit, request_headers: up, response_headers: down, mirror } = route;
  const changes = (it) => it && [...Object.keys(it.set), ...Object.keys(it.add), ...it.remove];
  const all = [
    limit && ['rate limit', `${limit.requests} per ${limit.per} by ${limit.key}`],
    route.strip_prefix && ['strip prefix', ''],
    isOn(route.timeout) && ['timeout', route.timeout],
    route.allow && route.allow.length > 0 && ['allow', route.allow.join(', ')],
    route.deny && route.deny.length > 0 && ['deny', route.deny.join(', ')],
    changes(up) && changes(up).length > 0 && ['request headers', changes(up).join(', ')],
    changes(down) && changes(down).length > 0 && ['response headers', changes(down).join(', ')],
    mirror && mirror.pool && ['mirror', `${mirror.percent} % to ${mirror.pool}`],
  ];
  return all.filter(Boolean);
}
