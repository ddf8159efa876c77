// One page of the service's own metrics, in the portal under Workbooks.
param location string
param tags object
param workspaceName string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'tntcore')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'tntcore'
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: workspace.id
    serializedData: loadTextContent('workbook.json')
  }
}
