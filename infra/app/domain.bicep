// The app's own domain, without Front Door: bound, then secured, since a certificate is issued only for a name that is
// bound. docs/deploy.md has the steps. The last, done again, changes nothing.
param appName string
param location string
param domain string
param secured bool

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource certificate 'Microsoft.Web/sites/certificates@2025-03-01' = if (secured) {
  parent: app
  name: replace(domain, '.', '-')
  location: location
  properties: {
    canonicalName: domain
  }
}

resource binding 'Microsoft.Web/sites/hostNameBindings@2025-03-01' = {
  parent: app
  name: domain
  properties: {
    hostNameType: 'Verified'
    customHostNameDnsRecordType: 'CName'
    sslState: secured ? 'SniEnabled' : 'Disabled'
    thumbprint: secured ? certificate!.properties.thumbprint : null
  }
}
