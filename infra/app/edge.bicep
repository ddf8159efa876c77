// Front Door before the app: the domain and its certificate, and a firewall that knows which paths are the operators'.
param name string
param wafName string
param tags object
param sku string
@description('Azure gives no name that is known beforehand, so there has to be one.')
@minLength(4)
param domain string
param appHost string
param operatorAddresses array
param requestsPerMinute int
param managedRules string
param workspaceName string

// The functions that only operators call.
var operatorPaths = ['/api/principal', '/api/poison', '/api/operator']

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource profile 'Microsoft.Cdn/profiles@2025-06-01' = {
  name: name
  location: 'global'
  tags: tags
  sku: { name: sku }
  properties: { originResponseTimeoutSeconds: 60 }
}

resource endpoint 'Microsoft.Cdn/profiles/afdEndpoints@2025-06-01' = {
  parent: profile
  name: name
  location: 'global'
  tags: tags
  properties: { enabledState: 'Enabled' }
}

resource origins 'Microsoft.Cdn/profiles/originGroups@2025-06-01' = {
  parent: profile
  name: 'app'
  properties: {
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
    }
    // There is one origin, and a probe that fails takes it away from nobody.
    sessionAffinityState: 'Disabled'
  }
}

resource origin 'Microsoft.Cdn/profiles/originGroups/origins@2025-06-01' = {
  parent: origins
  name: 'app'
  properties: {
    hostName: appHost
    originHostHeader: appHost
    httpPort: 80
    httpsPort: 443
    priority: 1
    weight: 1000
    enabledState: 'Enabled'
    enforceCertificateNameCheck: true
  }
}

resource customDomain 'Microsoft.Cdn/profiles/customDomains@2025-06-01' = {
  parent: profile
  name: replace(domain, '.', '-')
  properties: {
    hostName: domain
    tlsSettings: {
      certificateType: 'ManagedCertificate'
      minimumTlsVersion: 'TLS12'
    }
  }
}

resource route 'Microsoft.Cdn/profiles/afdEndpoints/routes@2025-06-01' = {
  parent: endpoint
  name: 'app'
  properties: {
    customDomains: [
      { id: customDomain.id }
    ]
    originGroup: { id: origins.id }
    patternsToMatch: ['/*']
    supportedProtocols: ['Http', 'Https']
    httpsRedirect: 'Enabled'
    forwardingProtocol: 'HttpsOnly'
    // Nothing is cached, and the service is known by its own domain alone.
    linkToDefaultDomain: 'Disabled'
    enabledState: 'Enabled'
  }
  dependsOn: [
    origin
  ]
}

var operatorRules = empty(operatorAddresses) ? [] : [
  {
    name: 'operatorPaths'
    priority: 10
    enabledState: 'Enabled'
    ruleType: 'MatchRule'
    action: 'Block'
    matchConditions: [
      {
        matchVariable: 'RequestUri'
        operator: 'Contains'
        matchValue: operatorPaths
        transforms: ['UrlDecode', 'Lowercase']
      }
      {
        matchVariable: 'SocketAddr'
        operator: 'IPMatch'
        negateCondition: true
        matchValue: operatorAddresses
      }
    ]
  }
]

var rateRules = [
  {
    name: 'rate'
    priority: 20
    enabledState: 'Enabled'
    ruleType: 'RateLimitRule'
    rateLimitDurationInMinutes: 1
    rateLimitThreshold: requestsPerMinute
    action: 'Block'
    groupBy: [
      { variableName: 'SocketAddr' }
    ]
    matchConditions: [
      {
        matchVariable: 'RequestUri'
        operator: 'Contains'
        matchValue: ['/']
      }
    ]
  }
]

// Managed rules come with Premium alone. Messages are other people's texts, which such rules take for attacks now and
// then: so they are only logged until somebody has looked.
var managedRuleSets = sku == 'Premium_AzureFrontDoor' ? [
  {
    ruleSetType: 'Microsoft_DefaultRuleSet'
    ruleSetVersion: '2.1'
    ruleSetAction: managedRules
  }
] : []

resource firewall 'Microsoft.Network/FrontDoorWebApplicationFirewallPolicies@2025-03-01' = {
  name: wafName
  location: 'global'
  tags: tags
  sku: { name: sku }
  properties: {
    policySettings: {
      enabledState: 'Enabled'
      mode: 'Prevention'
      requestBodyCheck: 'Enabled'
      customBlockResponseStatusCode: 403
    }
    customRules: { rules: concat(operatorRules, rateRules) }
    managedRules: { managedRuleSets: managedRuleSets }
  }
}

resource security 'Microsoft.Cdn/profiles/securityPolicies@2025-06-01' = {
  parent: profile
  name: 'firewall'
  properties: {
    parameters: {
      type: 'WebApplicationFirewall'
      wafPolicy: { id: firewall.id }
      associations: [
        {
          domains: [
            { id: customDomain.id }
          ]
          patternsToMatch: ['/*']
        }
      ]
    }
  }
}

// What was blocked, and why. The access log has every URL, and is left out.
resource blocked 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'firewall'
  scope: profile
  properties: {
    workspaceId: workspace.id
    logs: [{ category: 'FrontDoorWebApplicationFirewallLog', enabled: true }]
  }
}

output host string = endpoint.properties.hostName
output validationToken string = customDomain.properties.?validationProperties.?validationToken ?? ''
